//! A worker's time-limited claim on a fetch. Leases in the catalog are the only coordination between processes.

use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use crate::{Artifact, ArtifactId};

/// What a worker asks for.
#[derive(Debug, Clone)]
pub struct LeaseRequest {
    /// Who asks, for the log and the pages.
    pub worker: String,
    /// The most jobs to hand out.
    pub limit: usize,
    /// How long each lease holds unless it is renewed.
    pub lease_for: Duration,
    /// Hosts, as [`ArtifactName::host`](crate::ArtifactName::host) gives them, that the worker wants no further job of.
    pub busy_hosts: Vec<String>,
}

/// A claim on one artifact. Whoever presents the token of the latest lease holds it; all others have lost it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The artifact.
    pub artifact: ArtifactId,
    /// Distinguishes this lease from every other one on the artifact.
    pub token: Uuid,
    /// When others may take the artifact unless the lease was renewed.
    pub expires_at: Timestamp,
}

/// How much work waits for workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backlog {
    /// How many artifacts are due.
    pub due: u64,
    /// Since when the one that is longest due is.
    pub oldest_due_at: Option<Timestamp>,
}

/// A fetch to be done.
#[derive(Debug, Clone)]
pub struct Job {
    /// The claim.
    pub lease: Lease,
    /// The artifact as it stood when it was leased.
    pub artifact: Artifact,
    /// Which attempt this is since the artifact was declared or a person asked for a retry; the first is 1.
    pub attempt: u32,
}
