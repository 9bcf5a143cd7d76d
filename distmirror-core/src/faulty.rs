//! Backends that fail on purpose: any catalog or blob store behind [`Faults`], which say which operation fails, and how.
//!
//! For tests of whatever stands on backends. The thorough way is to let the first operation fail, then the second, and so on
//! until a run passes in which nothing failed any more, and to look after each run whether everything still holds.
//!
//! ```
//! # use std::sync::Arc;
//! # use distmirror_core::{faulty::{Fault, Faults, FaultyCatalog, How}, memory::MemoryCatalog, Ledger};
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let faults = Faults::default();
//! let catalog = FaultyCatalog::new(Arc::new(MemoryCatalog::new()), faults.clone());
//! faults.arm(Fault { nth: 2, times: 1, how: How::Before });
//! assert!(catalog.miss_count().await.is_ok());
//! assert!(catalog.miss_count().await.is_err());
//! assert!(catalog.miss_count().await.is_ok());
//! # });
//! # Ok::<(), std::io::Error>(())
//! ```

mod blob_store;
mod catalog;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

pub use self::{blob_store::FaultyBlobStore, catalog::FaultyCatalog};
use crate::{Error, Result};

/// Which operations fail, counted over all backends that share this. A clone is the same one.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Mutex<Plan>>);

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The first operation that fails; 1 is the next one.
    pub nth: u64,
    /// How many operations in a row fail; [`u64::MAX`] for a backend that went away.
    pub times: u64,
    /// In what way.
    pub how: How,
}

/// In what way an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// It is not done.
    Before,
    /// It is done, and its answer is lost.
    After,
    /// It is not done, and no answer ever comes.
    Silent,
}

#[derive(Debug, Default)]
struct Plan {
    fault: Option<Fault>,
    /// How many operations began since the fault was armed.
    begun: u64,
    /// How many of the next calls of an operation fail.
    failing: HashMap<&'static str, u64>,
    calls: HashMap<&'static str, u64>,
    fired: u64,
}

impl Faults {
    /// From the next operation on this goes wrong, in place of what was to go wrong before.
    pub fn arm(&self, fault: Fault) {
        let mut plan = self.plan();
        (plan.fault, plan.begun, plan.fired) = (Some(fault), 0, 0);
    }

    /// Nothing goes wrong any more.
    pub fn disarm(&self) {
        let mut plan = self.plan();
        plan.fault = None;
        plan.failing.clear();
    }

    /// The next so many calls of this operation are not done, whatever else goes wrong.
    pub fn fail_next(&self, operation: &'static str, times: u64) {
        self.plan().failing.insert(operation, times);
    }

    /// How many operations failed since a fault was armed, or else in all.
    pub fn fired(&self) -> u64 {
        self.plan().fired
    }

    /// How often this operation was called in all.
    pub fn calls(&self, operation: &str) -> u64 {
        self.plan().calls.get(operation).copied().unwrap_or_default()
    }

    /// Counts an operation that begins, and tells what goes wrong with it.
    fn next(&self, operation: &'static str) -> Option<How> {
        let mut plan = self.plan();
        *plan.calls.entry(operation).or_default() += 1;
        plan.begun += 1;
        let how = plan.how(operation);
        plan.fired += u64::from(how.is_some());
        how
    }

    /// Does an operation, or lets it fail with this kind of error.
    async fn through<T>(
        &self,
        operation: &'static str,
        trouble: fn(&'static str) -> Error,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        match self.next(operation) {
            None => work.await,
            Some(How::Before) => Err(trouble(AWAY)),
            Some(How::After) => {
                drop(work.await);
                Err(trouble(AWAY))
            }
            Some(How::Silent) => std::future::pending().await,
        }
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        // A panic elsewhere leaves a whole plan: no use of it can end halfway.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Plan {
    fn how(&mut self, operation: &str) -> Option<How> {
        if let Some(left @ 1..) = self.failing.get_mut(operation) {
            *left -= 1;
            return Some(How::Before);
        }
        let Fault { nth, times, how } = self.fault?;
        (self.begun >= nth && self.begun - nth < times).then_some(how)
    }
}

const AWAY: &str = "it is away, on purpose";

#[cfg(test)]
mod tests;
