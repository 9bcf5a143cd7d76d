//! A catalog that fails on purpose.

use std::sync::Arc;

use super::Faults;
use crate::{Catalog, Error, Result, catalog::CatalogWrapper};

/// A catalog behind [`Faults`]. Each call is an operation, and is counted under the name of the method.
#[derive(Debug, Clone)]
pub struct FaultyCatalog {
    inner: Arc<dyn Catalog>,
    faults: Faults,
}

impl FaultyCatalog {
    /// This catalog with these faults.
    pub fn new(inner: Arc<dyn Catalog>, faults: Faults) -> Self {
        Self { inner, faults }
    }
}

impl CatalogWrapper for FaultyCatalog {
    fn inner(&self) -> &Arc<dyn Catalog> {
        &self.inner
    }

    async fn through<T: Send>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        self.faults.through(operation, Error::catalog, work).await
    }
}
