//! What the catalog in memory holds, and what happens to one artifact of it.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use uuid::Uuid;

use crate::{
    Artifact, ArtifactId, AuditEntry, Declaration, Error, Fetched, Filter, Job, Lease, LeaseRequest, Miss, MissReport,
    NameKey, NewDeclaration, Repository, Result, Role, Scrub, State, StoredBlob, catalog::rules,
    memory::usage::UsageTables, miss::matches_pattern,
};

#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) artifacts: BTreeMap<ArtifactId, Entry>,
    pub(super) ids: HashMap<NameKey, ArtifactId>,
    pub(super) misses: HashMap<NameKey, Miss>,
    pub(super) ignored: Vec<String>,
    pub(super) audit: Vec<AuditEntry>,
    pub(super) usage: UsageTables,
    pub(super) scrubs: BTreeMap<Uuid, Scrub>,
}

/// An artifact with everything that hangs on it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) artifact: Artifact,
    pub(super) declarations: Vec<Declaration>,
    pub(super) blobs: Vec<StoredBlob>,
    /// When it is to be handed out; while it is being fetched, when the lease expires.
    pub(super) due_at: Option<Timestamp>,
    pub(super) holder: Option<Holder>,
    /// How many attempts were made before a person asked for a retry.
    pub(super) attempts_before: u32,
}

/// Who holds the latest lease.
#[derive(Debug)]
pub(super) struct Holder {
    pub(super) token: Uuid,
    pub(super) worker: String,
}

impl Tables {
    pub(super) fn entry(&mut self, id: ArtifactId) -> Result<&mut Entry> {
        self.artifacts.get_mut(&id).ok_or_else(|| Error::NotFound { what: "artifact", id: id.to_string() })
    }

    /// The entry whose latest lease this is, and the worker that holds it.
    pub(super) fn leased(&mut self, lease: &Lease) -> Result<(&mut Entry, String)> {
        let lost = Error::LeaseLost { artifact: lease.artifact };
        let Some(entry) = self.artifacts.get_mut(&lease.artifact) else { return Err(lost) };
        match &entry.holder {
            Some(holder) if holder.token == lease.token => {
                let worker = holder.worker.clone();
                Ok((entry, worker))
            }
            _ => Err(lost),
        }
    }

    pub(super) fn note(
        &mut self,
        at: Timestamp,
        who: &str,
        action: &str,
        artifact: Option<ArtifactId>,
        detail: impl Into<String>,
    ) {
        self.audit.push(AuditEntry {
            id: Uuid::now_v7(),
            at,
            who: who.to_owned(),
            action: action.to_owned(),
            artifact,
            detail: detail.into(),
        });
    }

    pub(super) fn add_miss(&mut self, report: &MissReport) {
        let key = report.name.key();
        if self.ids.contains_key(&key)
            || self.ignored.iter().any(|pattern| matches_pattern(pattern, report.name.as_str()))
        {
            return;
        }
        let miss = self.misses.entry(key).or_insert_with(|| Miss {
            id: Uuid::now_v7(),
            name: report.name.clone(),
            count: 0,
            first_seen: report.first_seen,
            last_seen: report.last_seen,
            method: String::new(),
            client: String::new(),
            user_agent: None,
            project: None,
        });
        miss.count = miss.count.saturating_add(report.count);
        miss.first_seen = miss.first_seen.min(report.first_seen);
        if report.last_seen >= miss.last_seen {
            miss.last_seen = report.last_seen;
            miss.method.clone_from(&report.method);
            miss.client.clone_from(&report.client);
            miss.user_agent.clone_from(&report.user_agent);
            miss.project.clone_from(&report.project);
        }
    }
}

impl Entry {
    pub(super) fn new(wanted: &NewDeclaration, now: Timestamp) -> Self {
        let artifact = Artifact {
            id: ArtifactId::new(),
            name: wanted.name.clone(),
            state: State::Pending,
            expected: wanted.expected.clone(),
            content: None,
            attempts: 0,
            last_error: None,
            next_attempt_at: Some(now),
            progress: None,
            quarantine_reason: None,
            declared_at: now,
            fetched_at: None,
            selection: rules::selection_of_new(wanted),
            damage: None,
            watch: None,
        };
        Self {
            artifact,
            declarations: Vec::new(),
            blobs: Vec::new(),
            due_at: Some(now),
            holder: None,
            attempts_before: 0,
        }
    }

    /// Makes it due at this time, in a state in which nobody holds it.
    pub(super) fn wait(&mut self, state: State, due_at: Option<Timestamp>) {
        self.artifact.state = state;
        self.artifact.next_attempt_at = due_at;
        self.artifact.progress = None;
        self.due_at = due_at;
        self.holder = None;
    }

    /// Makes it due now, with all its attempts ahead of it, unless somebody is at it.
    pub(super) fn make_due(&mut self, now: Timestamp) {
        if self.holder.is_none() {
            self.wait(rules::state_after_retrying(&self.artifact), Some(now));
        }
        self.artifact.last_error = None;
        self.attempts_before = self.artifact.attempts;
    }

    /// Makes it present with what was brought, or adds that to what it has.
    pub(super) fn receive(&mut self, fetched: &Fetched, now: Timestamp) {
        self.wait(State::Present, None);
        self.artifact.selection = rules::selection_after_fetching(&self.artifact, fetched);
        self.artifact.content.get_or_insert_with(|| fetched.content.clone());
        self.artifact.last_error = None;
        self.artifact.damage = None;
        self.artifact.fetched_at.get_or_insert(now);
        let more: Vec<_> = rules::new_blobs(&self.blobs, &fetched.blobs).into_iter().cloned().collect();
        self.blobs.retain(|blob| blob.role != Role::Unfetched);
        self.blobs.extend(more);
        if self.artifact.lacks_something() {
            self.make_due(now);
        }
    }

    pub(super) fn hand_out(&mut self, request: &LeaseRequest, now: Timestamp) -> Job {
        let expires_at = now + request.lease_for;
        let token = Uuid::new_v4();
        self.holder = Some(Holder { token, worker: request.worker.clone() });
        self.due_at = Some(expires_at);
        self.artifact.state = rules::state_while_fetching(&self.artifact);
        self.artifact.next_attempt_at = None;
        self.artifact.progress = None;
        self.artifact.attempts += 1;
        let lease = Lease { artifact: self.artifact.id, token, expires_at };
        Job { lease, artifact: self.artifact.clone(), attempt: self.artifact.attempts - self.attempts_before }
    }

    pub(super) fn repository(&self) -> Option<&Repository> {
        self.artifact.name.repository()
    }

    /// The parts of an image that have this key.
    pub(super) fn parts(&self, key: &NameKey) -> impl Iterator<Item = &StoredBlob> {
        let repository = self.repository();
        self.blobs.iter().filter(move |blob| repository.and_then(|own| blob.part_key(own)).as_ref() == Some(key))
    }

    pub(super) fn passes(&self, filter: &Filter) -> bool {
        let artifact = &self.artifact;
        filter.kind.is_none_or(|kind| kind == artifact.name.kind())
            && filter.state.is_none_or(|state| state == artifact.state)
            && filter.host.as_ref().is_none_or(|host| *host == artifact.name.host())
            && filter.watch.is_none_or(|status| artifact.watch.as_ref().is_some_and(|watch| watch.status == status))
            && filter.repository.as_ref().is_none_or(|path| self.repository().is_some_and(|own| own.path() == path))
            && filter
                .project
                .as_ref()
                .is_none_or(|project| self.declarations.iter().any(|d| d.project.as_ref() == Some(project)))
            && filter.text.as_ref().is_none_or(|text| rules::contains_text(artifact.name.as_str(), text))
    }
}
