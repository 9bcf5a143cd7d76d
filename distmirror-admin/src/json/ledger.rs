//! What was missed, and what was done.

use distmirror_core as core;
use distmirror_core::ArtifactName;
use poem_openapi::Object;
use serde::Serialize;
use uuid::Uuid;

use super::Moment;

/// Requests for something that nobody declared.
#[derive(Debug, Clone, Serialize, Object)]
pub(crate) struct Miss {
    pub(crate) id: Uuid,
    /// The canonical URI that was asked for, of a file.
    #[oai(nullable)]
    pub(crate) uri: Option<String>,
    /// The reference that was asked for, of an image.
    #[oai(nullable)]
    pub(crate) reference: Option<String>,
    /// How often.
    count: u64,
    first_seen: Moment,
    last_seen: Moment,
    /// The method of the last request.
    method: String,
    /// The address of the client that asked last.
    client: String,
    #[oai(nullable)]
    user_agent: Option<String>,
    #[oai(nullable)]
    project: Option<String>,
    /// Whether declaring it makes sense.
    declarable: bool,
    /// Why it does not, and what to do instead.
    #[oai(nullable)]
    why_not: Option<String>,
}

/// Something that was done.
#[derive(Debug, Clone, Serialize, Object)]
pub(crate) struct AuditEntry {
    id: Uuid,
    at: Moment,
    /// A person, or a worker.
    who: String,
    /// `declared`, `fetched`, `supplied`, `failed`, `retried`, `damaged`, `quarantined`, `released` or `ignored`.
    action: String,
    /// The artifact that it was done to.
    #[oai(nullable)]
    artifact: Option<Uuid>,
    /// The reason or the outcome in words.
    detail: String,
}

impl From<core::Miss> for Miss {
    fn from(miss: core::Miss) -> Self {
        let why_not = miss.why_not();
        Self {
            id: miss.id,
            uri: matches!(miss.name, ArtifactName::File(_)).then(|| miss.name.to_string()),
            reference: matches!(miss.name, ArtifactName::Image(_)).then(|| miss.name.to_string()),
            count: miss.count,
            first_seen: miss.first_seen.into(),
            last_seen: miss.last_seen.into(),
            method: miss.method,
            client: miss.client,
            user_agent: miss.user_agent,
            project: miss.project,
            declarable: why_not.is_none(),
            why_not: why_not.map(str::to_owned),
        }
    }
}

impl From<core::AuditEntry> for AuditEntry {
    fn from(entry: core::AuditEntry) -> Self {
        let core::AuditEntry { id, at, who, action, artifact, detail } = entry;
        Self { id, at: at.into(), who, action, artifact: artifact.map(|artifact| artifact.0), detail }
    }
}
