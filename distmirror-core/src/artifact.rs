//! An artifact as the catalog records it: name, state, and, once it is here, what it consists of.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use uuid::Uuid;

use crate::{
    ArtifactName, Checksums, Digest, Digests, NameKey, Platform, PlatformChoice, Repository, Scheme, Sha256, Watch,
    image::ImageName,
};

/// Identifies an artifact for ever. Version 7 of RFC 9562, so that ids sort by the time of the first declaration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct ArtifactId(pub Uuid);

impl ArtifactId {
    /// A new id.
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }
}

impl Default for ArtifactId {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for ArtifactId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for ArtifactId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|_| format!("`{}` is not an artifact id (a UUID)", text.escape_debug()))
    }
}

/// What sort of thing can be declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// A file, named by its URI.
    File,
    /// A container image, named by registry, repository and digest.
    Image,
}

impl Kind {
    /// The word for it in the API, the catalog and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Image => "image",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "file" => Ok(Self::File),
            "image" => Ok(Self::Image),
            other => Err(format!("`{}` is not a kind: use `file` or `image`", other.escape_debug())),
        }
    }
}

/// Where an artifact stands.
///
/// ```text
/// pending -> fetching -> present <-> quarantined
///               |  ^
///               v  |
///             failed
/// ```
///
/// A present image of which another platform is wanted stays present while that is fetched, and if that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// Declared; no worker has taken it yet.
    Pending,
    /// A worker holds the lease.
    Fetching,
    /// Complete, verified and durable; never changes again.
    Present,
    /// The last attempt failed.
    Failed,
    /// Taken out of service by a person; the bytes are kept.
    Quarantined,
}

impl State {
    /// Every state, in the order in which people read them.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Fetching, Self::Present, Self::Failed, Self::Quarantined];

    /// The word for it everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Fetching => "fetching",
            Self::Present => "present",
            Self::Failed => "failed",
            Self::Quarantined => "quarantined",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for State {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|state| state.as_str() == text);
        found.ok_or_else(|| {
            format!("`{}` is not a state: use pending, fetching, present, failed or quarantined", text.escape_debug())
        })
    }
}

/// Why the bytes are believed to be the right ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// Somebody declared a checksum, and the bytes have it.
    Verified,
    /// Declared without a checksum: whatever came first counts.
    FirstUse,
}

impl Trust {
    /// `verified` or `first-use`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::FirstUse => "first-use",
        }
    }
}

/// One artifact as the catalog holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct Artifact {
    /// Its id.
    pub id: ArtifactId,
    /// Its canonical name.
    pub name: ArtifactName,
    /// Where it stands.
    pub state: State,
    /// The checksums that were declared for it.
    pub expected: Checksums,
    /// What it consists of; `Some` from the moment it is present.
    pub content: Option<Content>,
    /// How often a worker took it up.
    pub attempts: u32,
    /// Why the last attempt failed, with both sides of a contradiction.
    pub last_error: Option<String>,
    /// When a worker will take it up (again) by itself; `None` when only a person can make it, or one is at it.
    pub next_attempt_at: Option<Timestamp>,
    /// How far the running fetch is.
    pub progress: Option<Progress>,
    /// Why it was taken out of service.
    pub quarantine_reason: Option<String>,
    /// When it was first declared.
    pub declared_at: Timestamp,
    /// When it became present.
    pub fetched_at: Option<Timestamp>,
    /// What is wanted and here of an image; `None` for other kinds.
    pub selection: Option<Selection>,
    /// What is wrong with its stored bytes, until they were fetched again.
    pub damage: Option<String>,
    /// What upstream was last seen to have.
    pub watch: Option<Watch>,
}

impl Artifact {
    /// Why the bytes are believed to be the right ones.
    pub fn trust(&self) -> Trust {
        if self.expected.is_empty() { Trust::FirstUse } else { Trust::Verified }
    }

    /// What a person should look at before trusting the bytes; empty for most.
    pub fn warnings(&self) -> Vec<String> {
        let (ArtifactName::File(uri), Some(content)) = (&self.name, &self.content) else { return Vec::new() };
        let mut warnings = Vec::new();
        if self.trust() == Trust::FirstUse
            && content.content_type.as_deref().is_some_and(is_html)
            && !names_page(uri.file_name())
        {
            warnings.push(
                "upstream sent an HTML page where the name promises something else: perhaps a login page or an error. Look \
                 at it, and declare the right checksum"
                    .to_owned(),
            );
        }
        if let Some(coding) = &content.content_encoding {
            warnings.push(format!(
                "upstream sent it in the coding `{coding}` although none was asked for: it is kept and served as it came"
            ));
        }
        warnings
    }

    /// Whether it is in service, and damaged or less of it here than is wanted.
    pub fn lacks_something(&self) -> bool {
        let is_incomplete = || self.selection.as_ref().is_some_and(|selection| !selection.is_complete());
        self.state == State::Present && (self.damage.is_some() || is_incomplete())
    }

    /// The checksums that its bytes must have: the declared ones, and once it is present those of its content.
    pub fn must_have(&self) -> Checksums {
        let Some(content) = &self.content else { return self.expected.clone() };
        let known = Checksums::new([content.blob().into()]).unwrap_or_default();
        self.expected.merged_with(&known)
    }
}

/// Which platforms of an image are wanted and which are here, and how upstream is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// All that was ever declared.
    pub wanted: PlatformChoice,
    /// What was wanted when it was last fetched.
    pub held: Option<PlatformChoice>,
    /// What was wanted and the image does not have. It never will: its digest says what it has.
    pub lacking: PlatformChoice,
    /// How the registry is reached.
    pub scheme: Scheme,
}

impl Selection {
    /// Whether all that is wanted and can be had is here.
    pub fn is_complete(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.covers(&self.to_be_had()))
    }

    /// What is wanted, as far as the image is not known to lack it.
    pub fn to_be_had(&self) -> PlatformChoice {
        self.wanted.without(&self.lacking)
    }
}

/// How far a fetch is, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Received so far.
    pub bytes: u64,
    /// As upstream announced it.
    pub total: Option<u64>,
}

/// What a present artifact consists of, and where it came from. Never changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Content {
    /// Digests of the artifact's own bytes (a file's content, an image's manifest).
    pub digests: Digests,
    /// Size of those bytes.
    pub size: u64,
    /// Upstream's `Content-Type`.
    pub content_type: Option<String>,
    /// Upstream's `Content-Disposition`.
    pub content_disposition: Option<String>,
    /// Upstream's `Content-Encoding`; recorded, never decoded.
    pub content_encoding: Option<String>,
    /// Upstream's `Last-Modified`, verbatim.
    pub last_modified: Option<String>,
    /// Where the bytes came from.
    pub source: Source,
}

impl Content {
    /// The name of the blob that holds the bytes.
    pub fn blob(&self) -> Sha256 {
        self.digests.sha256
    }
}

/// Whether a `Content-Type` is that of a page for people.
pub(crate) fn is_html(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    ["text/html", "application/xhtml+xml"].iter().any(|html| media_type.eq_ignore_ascii_case(html))
}

/// Whether the name of a file promises a page for people, or nothing at all.
pub(crate) fn names_page(file_name: &str) -> bool {
    match file_name.rsplit_once('.') {
        Some((_, extension)) => {
            let extension = extension.to_ascii_lowercase();
            matches!(extension.as_str(), "html" | "htm" | "xhtml" | "shtml" | "php" | "asp" | "aspx" | "jsp")
        }
        None => true,
    }
}

/// Where the bytes of an artifact came from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Source {
    /// The URL that answered with the bytes.
    pub final_url: String,
    /// Every URL that redirected on the way there, in order.
    pub redirects: Vec<String>,
    /// SHA-256 of the certificate that the last server showed, in hexadecimal; `None` over plain `http`.
    pub peer_certificate_sha256: Option<String>,
    /// How they came if not from where they were declared: supplied by a person, found in our own store, or rescued.
    pub note: Option<String>,
}

/// A blob that belongs to an artifact. A file has one; an image has its manifests, configs and layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBlob {
    /// The blob.
    pub blob: Sha256,
    /// What it is to the artifact.
    pub role: Role,
    /// The digest by which it is known upstream; mostly the one that names the blob, too.
    pub digest: Digest,
    /// Size in bytes.
    pub size: u64,
    /// Its media type.
    pub media_type: Option<String>,
    /// What it runs on, if it is the manifest of an image.
    pub platform: Option<Platform>,
    /// The manifest that it refers to, if it is a manifest that does.
    pub subject: Option<Digest>,
}

impl StoredBlob {
    /// The only blob of a file.
    pub fn of_file(content: &Content) -> Self {
        Self {
            blob: content.blob(),
            role: Role::Content,
            digest: content.blob().into(),
            size: content.size,
            media_type: content.content_type.clone(),
            platform: None,
            subject: None,
        }
    }

    /// The key under which it is found as a part of an image in this repository, unless it is none.
    pub fn part_key(&self, repository: &Repository) -> Option<NameKey> {
        let name = || ImageName::new(repository.clone(), self.digest);
        match self.role {
            Role::Content => None,
            Role::Index | Role::Manifest | Role::Unfetched => Some(name().manifest_key()),
            Role::Config | Role::Layer => Some(name().blob_key()),
        }
    }

    /// The key under which it is found by what it refers to.
    pub fn subject_key(&self, repository: &Repository) -> Option<NameKey> {
        self.subject.map(|subject| ImageName::new(repository.clone(), subject).subject_key())
    }
}

/// What a blob is to its artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The content of a file.
    Content,
    /// An index: manifests to choose from by platform.
    Index,
    /// The manifest of an image, or of something that refers to one.
    Manifest,
    /// The configuration of an image.
    Config,
    /// A layer of an image.
    Layer,
    /// A manifest that an index lists and that nobody wanted: it is on record, and not here.
    Unfetched,
}

impl Role {
    const ALL: [Self; 6] = [Self::Content, Self::Index, Self::Manifest, Self::Config, Self::Layer, Self::Unfetched];

    /// The word for it in the API and the catalog.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Content => "content",
            Self::Index => "index",
            Self::Manifest => "manifest",
            Self::Config => "config",
            Self::Layer => "layer",
            Self::Unfetched => "unfetched",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|role| role.as_str() == text);
        found.ok_or_else(|| format!("`{}` is not the role of a blob", text.escape_debug()))
    }
}

/// How many artifacts stand in each state, and how much is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Not taken up yet.
    pub pending: u64,
    /// Being fetched.
    pub fetching: u64,
    /// In service.
    pub present: u64,
    /// Failed.
    pub failed: u64,
    /// Out of service.
    pub quarantined: u64,
    /// Requests for undeclared things that wait for a decision.
    pub misses: u64,
}

impl Totals {
    /// All artifacts, whatever their state.
    pub fn artifacts(&self) -> u64 {
        State::ALL.iter().map(|state| self.in_state(*state)).sum()
    }

    /// The number for one state.
    pub fn in_state(&self, state: State) -> u64 {
        match state {
            State::Pending => self.pending,
            State::Fetching => self.fetching,
            State::Present => self.present,
            State::Failed => self.failed,
            State::Quarantined => self.quarantined,
        }
    }

    /// The number for one state, to be set.
    pub fn in_state_mut(&mut self, state: State) -> &mut u64 {
        match state {
            State::Pending => &mut self.pending,
            State::Fetching => &mut self.fetching,
            State::Present => &mut self.present,
            State::Failed => &mut self.failed,
            State::Quarantined => &mut self.quarantined,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_promise_a_page() {
        for (name, promises) in
            [("a.tar.gz", false), ("a.HTML", true), ("", true), ("download", true), ("x.php", true), ("v1.2", false)]
        {
            assert_eq!(names_page(name), promises, "{name}");
        }
    }
}
