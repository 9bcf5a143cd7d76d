//! What there is to know of a file before it is declared.

use distmirror_core as core;
use poem_openapi::Object;
use serde::Serialize;
use uuid::Uuid;

use super::State;

/// What there is to know of a file before it is declared.
#[derive(Debug, Clone, Serialize, Object)]
pub(crate) struct Preflight {
    /// The URI in its canonical form.
    uri: String,
    /// The artifact, if it is declared already.
    #[oai(nullable)]
    declared: Option<Known>,
    /// An artifact under another URI that is here and has the declared checksum.
    #[oai(nullable)]
    held: Option<Known>,
    /// What upstream says; null if it says nothing, or was not asked.
    #[oai(nullable)]
    found: Option<Found>,
    /// What to know and what to do about it, most important first.
    advice: Vec<Advice>,
}

/// An artifact that is on record.
#[derive(Debug, Clone, Serialize, Object)]
pub(crate) struct Known {
    id: Uuid,
    uri: String,
    state: State,
}

/// What upstream says of a file.
#[derive(Debug, Clone, Serialize, Object)]
pub(crate) struct Found {
    /// The status of its answer.
    status: u16,
    /// How many bytes the file has, if upstream tells.
    #[oai(nullable)]
    size: Option<u64>,
    /// Its `Content-Type`.
    #[oai(nullable)]
    content_type: Option<String>,
    /// Who answered, at the end of all redirects.
    final_url: String,
    /// Who redirected on the way there, in order.
    redirects: Vec<String>,
    /// The host that answered, if it is not the one of the URI.
    #[oai(nullable)]
    other_host: Option<String>,
}

/// Something to know, and what to do about it.
#[derive(Debug, Clone, Serialize, Object)]
pub(crate) struct Advice {
    /// A word for programs: `not_found`, `sign_in`, `refused`, `unreachable`, `too_large`, `login_page`, `changes`, `unprotected`, `held`, `declared`.
    code: String,
    /// `problem` where a fetch would fail or bring something else than what is meant, otherwise `note`.
    severity: String,
    /// What there is to know.
    message: String,
    /// How to go on.
    remedy: String,
}

impl Preflight {
    /// As the API shows it, where no file may have more than `max_bytes`.
    pub(crate) fn new(preflight: core::Preflight, max_bytes: Option<u64>) -> Self {
        let advice = preflight.advice(max_bytes).into_iter().map(Advice::from).collect();
        let core::Preflight { uri, declared, held, probe, .. } = preflight;
        let found = probe.and_then(Result::ok).map(|probe| Found::new(&uri, probe));
        let known = |artifact: core::Artifact| Known {
            id: artifact.id.0,
            uri: artifact.name.as_str().to_owned(),
            state: artifact.state.into(),
        };
        Self { uri: uri.to_string(), declared: declared.map(known), held: held.map(known), found, advice }
    }
}

impl Found {
    fn new(uri: &core::Uri, probe: core::Probe) -> Self {
        let core::Probe { status, final_uri, redirects, size, content_type } = probe;
        let is_elsewhere = final_uri.authority().host != uri.authority().host;
        Self {
            status,
            size,
            content_type,
            final_url: final_uri.redacted(),
            redirects: redirects.iter().map(core::Uri::redacted).collect(),
            other_host: is_elsewhere.then(|| final_uri.authority().for_scheme(final_uri.scheme())),
        }
    }
}

impl From<core::Advice> for Advice {
    fn from(advice: core::Advice) -> Self {
        let core::Advice { code, is_problem, message, remedy } = advice;
        let severity = if is_problem { "problem" } else { "note" };
        Self { code: code.to_owned(), severity: severity.to_owned(), message, remedy }
    }
}
