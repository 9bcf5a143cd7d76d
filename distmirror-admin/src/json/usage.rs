//! Who used what.

use distmirror_core as core;
use distmirror_core::UsedBy;
use poem_openapi::Object;
use serde::Serialize;

use super::Moment;

/// How much an artifact was used by clients of the proxy. A request is an answer with bytes of it, or to HEAD; of an image, one
/// for each of its parts.
#[derive(Debug, Clone, Serialize, Object)]
pub(crate) struct Usage {
    /// How many requests were answered.
    requests: u64,
    /// How many bytes were sent.
    pub(super) bytes: u64,
    /// When it was first used.
    first_used_at: Moment,
    /// When it was used last.
    last_used_at: Moment,
}

/// How much one user used an artifact on one day.
#[derive(Debug, Clone, Serialize, Object)]
pub(crate) struct DailyUsage {
    /// The day in UTC, such as `2026-01-31`.
    day: String,
    /// The project of the user, if who used it had signed in for one.
    #[oai(nullable)]
    project: Option<String>,
    /// Otherwise the address of the client.
    #[oai(nullable)]
    client: Option<String>,
    /// How many requests were answered.
    requests: u64,
    /// How many bytes were sent.
    bytes: u64,
    /// When it was first used on that day.
    first_used_at: Moment,
    /// When it was used last on that day.
    last_used_at: Moment,
}

impl From<core::Usage> for Usage {
    fn from(usage: core::Usage) -> Self {
        let core::Usage { requests, bytes, first_used_at, last_used_at } = usage;
        Self { requests, bytes, first_used_at: first_used_at.into(), last_used_at: last_used_at.into() }
    }
}

impl From<core::DailyUsage> for DailyUsage {
    fn from(daily: core::DailyUsage) -> Self {
        let (project, client) = match daily.by {
            UsedBy::Project(project) => (Some(project.to_string()), None),
            UsedBy::Client(address) => (None, Some(address.to_string())),
        };
        let Usage { requests, bytes, first_used_at, last_used_at } = daily.usage.into();
        Self { day: daily.day.to_string(), project, client, requests, bytes, first_used_at, last_used_at }
    }
}
