//! What a person should know before a file is declared: what upstream says of it, what its name tells, and what is here
//! already. It decides nothing; every piece of advice says how to go on.

mod names;

use std::fmt;

use async_trait::async_trait;

use crate::{
    Artifact, Checksums, Failure, Scheme, Uri,
    artifact::{is_html, names_page},
};

/// Asks upstream what there is under a URI, for a person who wants to declare it. It brings nothing.
///
/// A trait, so that the admin side can offer it without knowing any HTTP client.
#[async_trait]
pub trait Prober: fmt::Debug + Send + Sync + 'static {
    /// What upstream says now, whatever its status. A failure if it says nothing.
    async fn probe(&self, uri: &Uri) -> Result<Probe, Failure>;
}

/// What upstream says of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// The status of the answer.
    pub status: u16,
    /// Who gave it.
    pub final_uri: Uri,
    /// Who redirected on the way there, in order.
    pub redirects: Vec<Uri>,
    /// How many bytes the file has, if that is announced.
    pub size: Option<u64>,
    /// Its `Content-Type`.
    pub content_type: Option<String>,
}

/// Everything that can be told of a file without fetching it.
#[derive(Debug, Clone)]
pub struct Preflight {
    /// What would be declared.
    pub uri: Uri,
    /// The checksums that it would have to have.
    pub expected: Checksums,
    /// The artifact, if it is declared already.
    pub declared: Option<Artifact>,
    /// An artifact of another name that is present and has the declared checksum.
    pub held: Option<Artifact>,
    /// What upstream says; `None` if it was not asked.
    pub probe: Option<Result<Probe, Failure>>,
}

/// Something to know, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// A word for programs.
    pub code: &'static str,
    /// Whether a fetch would fail, or bring something else than what is meant.
    pub is_problem: bool,
    /// What there is to know.
    pub message: String,
    /// How to go on.
    pub remedy: String,
}

impl Advice {
    fn problem(code: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { code, is_problem: true, message: message.into(), remedy: remedy.into() }
    }

    fn note(code: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { is_problem: false, ..Self::problem(code, message, remedy) }
    }
}

impl Preflight {
    /// All there is to know, most important first. `max_bytes` is the size that no file may exceed here.
    pub fn advice(&self, max_bytes: Option<u64>) -> Vec<Advice> {
        let from_upstream = match &self.probe {
            Some(Ok(probe)) => probe.advice(&self.uri, &self.expected, max_bytes),
            Some(Err(failure)) => vec![unreachable(failure)],
            None => Vec::new(),
        };
        let without_checksum = self.expected.is_empty() && self.uri.scheme() == Scheme::Http;
        let unprotected = without_checksum.then(|| {
            Advice::note(
                "unprotected",
                "it comes without TLS and has no checksum: whoever is on the way can change it",
                "give the checksum that the publisher names, or use https if upstream has it",
            )
        });
        let from_upstream = from_upstream.into_iter();
        let known = self.held.iter().map(held).chain(self.declared.iter().map(declared));
        from_upstream.chain(names::known_to_change(&self.uri, &self.expected)).chain(unprotected).chain(known).collect()
    }
}

impl Probe {
    fn advice(&self, uri: &Uri, expected: &Checksums, max_bytes: Option<u64>) -> Vec<Advice> {
        if !matches!(self.status, 200 | 206) {
            return vec![self.refused()];
        }
        let mut advice = Vec::new();
        if let (Some(size), Some(limit)) = (self.size, max_bytes)
            && size > limit
        {
            advice.push(Advice::problem(
                "too_large",
                format!("it has {size} bytes, and no file may have more than {limit} here"),
                "have fetch.max_file_bytes raised",
            ));
        }
        let is_html = self.content_type.as_deref().is_some_and(is_html);
        if is_html && !names_page(uri.file_name()) {
            advice.push(self.login_page(expected));
        }
        advice
    }

    fn refused(&self) -> Advice {
        let (status, place) = (self.status, self.final_uri.redacted());
        match status {
            404 | 410 => Advice::problem(
                "not_found",
                format!("`{place}` answered {status}: there is nothing"),
                "look for a slip in the URL. If upstream has lost it: with a checksum it may come from elsewhere, or you supply \
                 it by hand once it is declared",
            ),
            401 | 403 | 407 => Advice::problem(
                "sign_in",
                format!("`{place}` answered {status}: it wants to know who asks"),
                "have credentials for this host configured (fetch.credentials), or supply the file by hand once it is declared",
            ),
            _ => Advice::problem(
                "refused",
                format!("`{place}` answered {status}"),
                "declare it all the same if that may pass: it is tried again by itself",
            ),
        }
    }

    fn login_page(&self, expected: &Checksums) -> Advice {
        let place = self.final_uri.redacted();
        let message =
            format!("`{place}` is an HTML page, where the name promises something else: perhaps a login page");
        let remedy = if expected.is_empty() {
            "open it in a browser without being signed in. If it is a login page, have credentials for the host configured, or \
             supply the file by hand; a checksum would keep the page out"
        } else {
            "open it in a browser without being signed in. As long as it is this page, your checksum keeps it out, and the fetch \
             fails"
        };
        Advice::problem("login_page", message, remedy)
    }
}

fn unreachable(failure: &Failure) -> Advice {
    let remedy = if failure.message.contains("address not allowed") {
        "if it is meant, have its network allowed (fetch.allow_addresses)"
    } else {
        "look for a slip in the URL. If upstream is away, declare it all the same: it is tried again by itself"
    };
    Advice::problem("unreachable", failure.message.clone(), remedy)
}

fn held(artifact: &Artifact) -> Advice {
    Advice::note(
        "held",
        format!("these bytes are here already, as `{}`", artifact.name.redacted()),
        "declare it all the same if your build uses this URL: nothing is fetched again",
    )
}

fn declared(artifact: &Artifact) -> Advice {
    Advice::note(
        "declared",
        format!("it is declared already, and {}", artifact.state),
        "declare it all the same to add your reason",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Algorithm, Digests};

    fn preflight(uri: &str, probe: Result<Probe, Failure>) -> Preflight {
        Preflight {
            uri: uri.parse().unwrap(),
            expected: Checksums::none(),
            declared: None,
            held: None,
            probe: Some(probe),
        }
    }

    fn probe(status: u16, content_type: &str, size: u64) -> Probe {
        Probe {
            status,
            final_uri: "https://cdn.test/x?token=hunter2".parse().unwrap(),
            redirects: Vec::new(),
            size: Some(size),
            content_type: Some(content_type.to_owned()),
        }
    }

    fn codes(preflight: &Preflight) -> Vec<&'static str> {
        preflight.advice(Some(100)).iter().map(|advice| advice.code).collect()
    }

    #[test]
    fn what_upstream_says_is_told_with_a_way_on() {
        for (uri, probe, expected) in [
            ("https://h.test/a.tar.gz", probe(200, "application/gzip", 100), &[][..]),
            ("https://h.test/a.tar.gz", probe(206, "application/gzip", 101), &["too_large"]),
            ("https://h.test/a.tar.gz", probe(200, "text/html; charset=utf-8", 5), &["login_page"]),
            ("https://h.test/manual.html", probe(200, "text/html", 5), &[]),
            ("https://h.test/a.tar.gz", probe(404, "text/html", 5), &["not_found"]),
            ("https://h.test/a.tar.gz", probe(410, "text/html", 5), &["not_found"]),
            ("https://h.test/a.tar.gz", probe(403, "text/html", 5), &["sign_in"]),
            ("https://h.test/a.tar.gz", probe(503, "text/html", 5), &["refused"]),
            ("http://h.test/a.tar.gz", probe(200, "application/gzip", 5), &["unprotected"]),
        ] {
            let preflight = preflight(uri, Ok(probe));
            assert_eq!(codes(&preflight), expected, "{preflight:?}");
            for advice in preflight.advice(Some(100)) {
                assert!(!advice.message.contains("hunter2") && !advice.remedy.is_empty(), "{advice:?}");
            }
        }
    }

    #[test]
    fn who_cannot_be_reached_is_told_apart_from_who_must_not() {
        for (message, words) in [("cannot resolve `h`", "tried again"), ("address not allowed: h", "allow_addresses")] {
            let advice = preflight("https://h.test/a", Err(Failure::new(message))).advice(None);
            assert!(advice[0].code == "unreachable" && advice[0].remedy.contains(words), "{advice:?}");
        }
    }

    #[test]
    fn a_checksum_changes_the_advice() {
        let mut with = preflight("http://h.test/a.tar", Ok(probe(200, "text/html", 5)));
        let before = with.advice(None);
        with.expected = Checksums::new([Digests::of(b"x").get(Algorithm::Sha256)]).unwrap();
        let after = with.advice(None);
        assert_eq!(codes(&with), ["login_page"]);
        assert_ne!(before[0].remedy, after[0].remedy);
    }
}
