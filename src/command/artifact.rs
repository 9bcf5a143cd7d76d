//! What the API says about an artifact, as far as it is printed for people.

use jiff::Timestamp;
use serde::Deserialize;

/// An artifact.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Artifact {
    /// Its id.
    pub(super) id: String,
    /// The canonical URI of a file.
    uri: Option<String>,
    /// The canonical reference of an image.
    reference: Option<String>,
    /// `pending`, `fetching`, `present`, `failed` or `quarantined`.
    pub(super) state: String,
    /// `verified` or `first-use`.
    pub(super) trust: String,
    /// SHA-256 in hexadecimal, once it is present.
    pub(super) sha256: Option<String>,
    /// SHA-512 in hexadecimal, once it is present.
    pub(super) sha512: Option<String>,
    /// Size in bytes, once it is present; of an image, that of its manifest.
    size: Option<u64>,
    /// Size in bytes of all parts of an image, once it is present.
    total_size: Option<u64>,
    /// Whether all platforms of an image that were declared are here.
    whole: Option<bool>,
    /// The platforms of an image.
    pub(super) platforms: Option<Vec<Platform>>,
    /// As upstream sent it.
    pub(super) content_type: Option<String>,
    /// Who wants it and why.
    #[serde(default)]
    pub(super) declarations: Vec<Declaration>,
    /// How often a worker took it up.
    #[serde(default)]
    pub(super) attempts: u32,
    /// Why the last attempt failed.
    pub(super) last_error: Option<String>,
    /// When it is tried again by itself.
    pub(super) next_attempt_at: Option<Timestamp>,
    /// How far the running fetch is.
    pub(super) progress: Option<Progress>,
    /// Where the bytes came from.
    pub(super) source: Option<Source>,
    /// How much it was used, if it ever was.
    pub(super) usage: Option<Usage>,
    /// Why it was taken out of service.
    pub(super) quarantine_reason: Option<String>,
    /// When it was first declared.
    pub(super) declared_at: Timestamp,
    /// When it became present.
    pub(super) fetched_at: Option<Timestamp>,
}

/// A platform of an image.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Platform {
    /// `OS/ARCHITECTURE[/VARIANT]`.
    pub(super) platform: String,
    /// Whether it is here.
    pub(super) present: bool,
}

/// Who wants an artifact, and why.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Declaration {
    /// Who.
    pub(super) who: String,
    /// Why.
    pub(super) reason: String,
    /// For which project.
    pub(super) project: Option<String>,
    /// Its licence.
    pub(super) license: Option<String>,
    /// Where the request was discussed.
    pub(super) ticket: Option<String>,
    /// The tag by which the person knew an image.
    pub(super) tag: Option<String>,
    /// When.
    pub(super) at: Timestamp,
}

/// How far a fetch is, in bytes.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Progress {
    /// Received so far.
    pub(super) bytes: u64,
    /// As upstream announced it.
    pub(super) total: Option<u64>,
}

/// How much an artifact was used by clients of the proxy.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Usage {
    /// How many requests were answered.
    pub(super) requests: u64,
    /// How many bytes were sent.
    pub(super) bytes: u64,
    /// When it was used last.
    pub(super) last_used_at: Timestamp,
}

/// Where the bytes of an artifact came from.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Source {
    /// The URL that answered with the bytes.
    pub(super) final_url: String,
    /// Every URL that redirected on the way there.
    #[serde(default)]
    pub(super) redirects: Vec<String>,
    /// SHA-256 of the last server's certificate.
    pub(super) peer_certificate_sha256: Option<String>,
}

impl Artifact {
    /// Its canonical name: the URI of a file, the reference of an image.
    pub(super) fn name(&self) -> &str {
        self.uri.as_deref().or(self.reference.as_deref()).unwrap_or("-")
    }

    /// Size in bytes of all that it consists of, once it is present.
    pub(super) fn size(&self) -> Option<u64> {
        self.total_size.or(self.size)
    }

    /// Whether nothing happens to it any more by what is running now.
    pub(super) fn is_settled(&self) -> bool {
        match self.state.as_str() {
            "present" => self.is_whole() || self.last_error.is_some(),
            state => matches!(state, "failed" | "quarantined"),
        }
    }

    /// Whether it is in service with all that was declared of it.
    pub(super) fn is_present(&self) -> bool {
        self.state == "present" && self.is_whole()
    }

    fn is_whole(&self) -> bool {
        self.whole.unwrap_or(true)
    }
}
