//! How many parts come from one registry at a time, however many images they belong to.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use distmirror_core::{Failure, Registry};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The slots of every registry.
#[derive(Debug)]
pub(super) struct Slots {
    per_registry: usize,
    by_registry: Mutex<HashMap<Registry, Arc<Semaphore>>>,
}

impl Slots {
    pub(super) fn new(per_registry: usize) -> Self {
        Self { per_registry: per_registry.max(1), by_registry: Mutex::default() }
    }

    /// Waits until another part may come from this registry; it may until what is returned is dropped.
    pub(super) async fn take(&self, registry: &Registry) -> Result<OwnedSemaphorePermit, Failure> {
        let slots = {
            let mut by_registry = self.by_registry.lock().unwrap_or_else(PoisonError::into_inner);
            let slots = by_registry.entry(registry.clone());
            Arc::clone(slots.or_insert_with(|| Arc::new(Semaphore::new(self.per_registry))))
        };
        slots.acquire_owned().await.map_err(|closed| Failure::new(closed.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn each_registry_has_its_own() {
        let slots = Slots::new(2);
        let registries = ["a.test", "b.test"].map(|name| Registry::parse(name).unwrap());
        let first = slots.take(&registries[0]).await.unwrap();
        let _second = slots.take(&registries[0]).await.unwrap();
        assert!(slots.take(&registries[0]).now_or_never().is_none(), "both are taken");
        assert!(slots.take(&registries[1]).now_or_never().is_some());
        drop(first);
        assert!(slots.take(&registries[0]).now_or_never().is_some());
    }
}
