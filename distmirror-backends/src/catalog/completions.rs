//! Completions that wait for SQLite's one writer share a transaction: most of what one costs is the commit, which waits for the
//! disk.
//!
//! There is no task for it. Whoever has the writer's turn does what all of them wait for.

use std::{
    mem, slice,
    sync::{Mutex, PoisonError},
};

use distmirror_core::{Error, Fetched, Lease, Result};
use jiff::Timestamp;
use tokio::sync::oneshot;

use crate::catalog::{
    SqlCatalog,
    attempt::{Attempt, Trouble, commit, limited, repeated},
    fetches::complete_one,
};

/// The completions whose turn has not come yet.
#[derive(Default)]
pub(super) struct Waiting(Mutex<Vec<Completion>>);

struct Completion {
    lease: Lease,
    fetched: Fetched,
    now: Timestamp,
    done: oneshot::Sender<Result<()>>,
}

impl Waiting {
    fn add(&self, completion: Completion) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(completion);
    }

    /// All whose callers have not gone away.
    fn take(&self) -> Vec<Completion> {
        let mut all = mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        all.retain(|completion| !completion.done.is_closed());
        all
    }
}

impl SqlCatalog {
    /// Completes a job, together with those that wait for the same turn. None of them is acknowledged before the commit, and
    /// each has the outcome that it has alone.
    pub(super) async fn complete_in_turn(&self, lease: &Lease, fetched: &Fetched, now: Timestamp) -> Result<()> {
        let (done, mut outcome) = oneshot::channel();
        self.completions.add(Completion { lease: *lease, fetched: fetched.clone(), now, done });
        limited(async {
            let outcome = tokio::select! {
                biased;
                outcome = &mut outcome => outcome,
                _turn = self.sqlite_writer.lock() => {
                    self.complete_waiting().await;
                    outcome.await
                }
            };
            Ok(outcome.unwrap_or_else(|_| Err(Error::catalog("the transaction that it was part of did not end")))?)
        })
        .await
    }

    async fn complete_waiting(&self) {
        let all = self.completions.take();
        if let Some(outcome) = self.together(&all).await {
            for completion in all {
                // Who does not listen any more has been given up.
                let _ = completion.done.send(outcome.clone().map_err(|error| Trouble::Uncertain(error).into()));
            }
        } else {
            for completion in all {
                let outcome = repeated(|| self.try_complete(slice::from_ref(&completion))).await;
                let _ = completion.done.send(outcome.map_err(Error::from));
            }
        }
        self.totals.forget();
    }

    /// What became of all of them; `None` if nothing did, because one of them cannot be done or there is nothing to share.
    async fn together(&self, all: &[Completion]) -> Option<Result<(), sea_orm::DbErr>> {
        if all.len() < 2 {
            return None;
        }
        match self.try_complete(all).await {
            Ok(()) => Some(Ok(())),
            Err(Trouble::Uncertain(error)) => Some(Err(error)),
            Err(_) => None,
        }
    }

    async fn try_complete(&self, all: &[Completion]) -> Attempt<()> {
        let transaction = self.begin().await?;
        for Completion { lease, fetched, now, .. } in all {
            complete_one(lease, fetched, *now, &transaction).await?;
        }
        commit(transaction).await
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        path::{Path, PathBuf},
        sync::Arc,
        time::Duration,
    };

    use distmirror_core::{
        Artifacts, Checksums, Content, Digest, Digests, Fetches, LeaseRequest, Ledger, NewDeclaration, PageRequest,
        Sha256, Source, State, Uri,
    };
    use tempfile::TempDir;
    use tokio::task::JoinHandle;

    use super::*;
    use crate::catalog::CatalogOptions;

    /// A catalog, and the leases on so many files, each of which is declared with the digest of its number.
    struct Site {
        folder: TempDir,
        catalog: Arc<SqlCatalog>,
        leases: Vec<Lease>,
    }

    impl Site {
        async fn with(files: usize) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let url = format!("sqlite://{}", folder.path().join("catalog.db").display());
            let options = CatalogOptions { url, max_connections: 2, migrate: true };
            let catalog = Arc::new(SqlCatalog::open(&options).await.unwrap());
            let mut leases = Vec::new();
            for number in 0..files {
                catalog.declare(&wanted(number), Timestamp::now()).await.unwrap();
                let (worker, lease_for) = ("w".to_owned(), Duration::from_secs(600));
                let request = LeaseRequest { worker, limit: 1, lease_for, busy_hosts: Vec::new() };
                leases.push(catalog.lease(&request, Timestamp::now()).await.unwrap().remove(0).lease);
            }
            Self { folder, catalog, leases }
        }

        /// Completes all of them while somebody else writes, so that all wait; each brings its number.
        async fn complete_at_once(&self) -> Vec<JoinHandle<Result<()>>> {
            let (catalog, leases) = (Arc::clone(&self.catalog), self.leases.clone());
            let tasks = leases.into_iter().enumerate().map(|(number, lease)| {
                let catalog = Arc::clone(&catalog);
                tokio::spawn(async move { catalog.complete(&lease, &fetched(number), Timestamp::now()).await })
            });
            let tasks: Vec<_> = tasks.collect();
            while self.catalog.completions.0.lock().unwrap().len() < tasks.len() {
                tokio::task::yield_now().await;
            }
            tasks
        }

        async fn state(&self, number: usize) -> State {
            self.catalog.artifact(self.leases[number].artifact).await.unwrap().unwrap().state
        }

        fn log(&self) -> PathBuf {
            self.folder.path().join("catalog.db-wal")
        }
    }

    fn wanted(number: usize) -> NewDeclaration {
        let digest: Digest = Sha256::of(number.to_string().as_bytes()).into();
        NewDeclaration {
            name: format!("https://h.test/{number}").parse::<Uri>().unwrap().into(),
            expected: Checksums::new([digest]).unwrap(),
            image: None,
            who: "alice".to_owned(),
            reason: "r".to_owned(),
            project: None,
            license: None,
            ticket: None,
        }
    }

    fn fetched(number: usize) -> Fetched {
        let text = number.to_string();
        Fetched::file(Content {
            digests: Digests::of(text.as_bytes()),
            size: text.len() as u64,
            content_type: None,
            content_disposition: None,
            content_encoding: None,
            last_modified: None,
            source: Source::default(),
        })
    }

    /// How many commits are in a write-ahead log: frames that say how large the database is after them. Sections 4.1 and 4.2
    /// of the SQLite file format.
    fn commits(log: &Path) -> usize {
        const HEADER: usize = 32;
        const FRAME_HEADER: usize = 24;
        let log = fs::read(log).unwrap();
        let page = u32::from_be_bytes(log[8..12].try_into().unwrap()) as usize;
        let salts = &log[16..24];
        let frames = log[HEADER..].chunks_exact(FRAME_HEADER + page);
        frames.filter(|frame| &frame[8..16] == salts && frame[4..8] != [0; 4]).count()
    }

    #[tokio::test]
    async fn those_that_wait_share_one_commit() {
        let site = Site::with(8).await;
        let before = commits(&site.log());
        let turn = site.catalog.sqlite_writer.lock().await;
        let tasks = site.complete_at_once().await;
        drop(turn);
        for (number, task) in tasks.into_iter().enumerate() {
            task.await.unwrap().unwrap();
            assert_eq!(site.state(number).await, State::Present);
        }
        assert_eq!(commits(&site.log()) - before, 1);
        let page = PageRequest { limit: 100, after: None };
        let audit = site.catalog.audit(None, &page).await.unwrap().items;
        assert_eq!(audit.iter().filter(|entry| entry.action == "fetched").count(), 8, "each has its entry");
    }

    #[tokio::test]
    async fn one_that_fails_fails_alone() {
        let mut site = Site::with(5).await;
        // The second has lost its lease, and the fourth brings what is not its content.
        site.leases[1].token = uuid::Uuid::new_v4();
        site.leases.swap(3, 4);
        let (lost, swapped) = (site.leases[1], [site.leases[3], site.leases[4]]);
        let turn = site.catalog.sqlite_writer.lock().await;
        let tasks = site.complete_at_once().await;
        drop(turn);
        let mut outcomes = Vec::new();
        for task in tasks {
            outcomes.push(task.await.unwrap());
        }
        assert!(matches!(outcomes[1], Err(Error::LeaseLost { artifact }) if artifact == lost.artifact), "{outcomes:?}");
        for outcome in &outcomes[3..] {
            assert!(matches!(outcome, Err(Error::ChecksumMismatch { .. })), "{outcomes:?}");
        }
        assert!(outcomes[0].is_ok() && outcomes[2].is_ok(), "{outcomes:?}");
        for (number, state) in [(0, State::Present), (1, State::Fetching), (2, State::Present)] {
            assert_eq!(site.state(number).await, state, "{number}");
        }
        for lease in swapped {
            let progress = distmirror_core::Progress::default();
            site.catalog.renew(&lease, Timestamp::now(), progress).await.expect("it still has its lease");
        }
    }

    #[tokio::test]
    async fn what_was_given_up_while_it_waited_is_not_done() {
        let site = Site::with(3).await;
        let turn = site.catalog.sqlite_writer.lock().await;
        let mut tasks = site.complete_at_once().await;
        let given_up = tasks.remove(1);
        given_up.abort();
        assert!(given_up.await.unwrap_err().is_cancelled());
        drop(turn);
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        let states = [site.state(0).await, site.state(1).await, site.state(2).await];
        assert_eq!(states, [State::Present, State::Fetching, State::Present]);
    }
}
