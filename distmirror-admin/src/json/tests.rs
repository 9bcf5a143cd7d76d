//! How often a list asks the catalog.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use distmirror_core::{
    ArtifactId, Artifacts, Checksums, Declared, Digest, Filter, NameKey, NewDeclaration, Page, PageRequest, Result,
    StoredBlob, Totals, Uri, memory::MemoryCatalog,
};
use jiff::Timestamp;

use super::*;

#[tokio::test]
async fn a_page_asks_once_for_all_its_declarations() {
    let catalog = Counting::default();
    for (number, who) in [(1, "alice"), (2, "bob"), (3, "carol"), (1, "dave")] {
        catalog.inner.declare(&wanted(number, who), Timestamp::now()).await.unwrap();
    }
    let mut found = catalog.inner.list(&Filter::default(), &PageRequest::first(100)).await.unwrap();
    found.items.push(found.items[0].clone());
    let shown = artifacts(&catalog, found).await.unwrap();
    let who =
        |artifact: &Artifact| artifact.declarations.iter().map(|one| one.who.clone()).collect::<Vec<_>>().join(" ");
    assert_eq!(shown.items.iter().map(who).collect::<Vec<_>>(), ["carol", "bob", "alice dave", "carol"]);
    assert_eq!(catalog.asked.load(Ordering::Relaxed), 1, "one question for the whole page");

    let empty = artifacts(&catalog, Page { items: Vec::new(), next: None }).await.unwrap();
    assert!(empty.items.is_empty());
    assert_eq!(catalog.asked.load(Ordering::Relaxed), 1, "an empty page asks nothing");
}

fn wanted(number: u32, who: &str) -> NewDeclaration {
    NewDeclaration {
        name: Uri::parse(&format!("https://h.test/{number}")).unwrap().into(),
        expected: Checksums::none(),
        image: None,
        who: who.to_owned(),
        reason: "r".to_owned(),
        project: None,
        license: None,
        ticket: None,
    }
}

/// A catalog that counts how often it is asked for declarations, and knows nothing else.
#[derive(Debug, Default)]
struct Counting {
    inner: MemoryCatalog,
    asked: AtomicUsize,
}

const ELSE: &str = "showing a list asks for nothing but declarations";

#[async_trait]
impl Artifacts for Counting {
    async fn declarations(&self, ids: &[ArtifactId]) -> Result<HashMap<ArtifactId, Vec<core::Declaration>>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.inner.declarations(ids).await
    }

    async fn declare(&self, _: &NewDeclaration, _: Timestamp) -> Result<Declared> {
        unreachable!("{ELSE}")
    }

    async fn artifact(&self, _: ArtifactId) -> Result<Option<core::Artifact>> {
        unreachable!("{ELSE}")
    }

    async fn named(&self, _: &NameKey) -> Result<Option<core::Artifact>> {
        unreachable!("{ELSE}")
    }

    async fn holding(&self, _: &Digest) -> Result<Option<core::Artifact>> {
        unreachable!("{ELSE}")
    }

    async fn list(&self, _: &Filter, _: &PageRequest) -> Result<Page<core::Artifact>> {
        unreachable!("{ELSE}")
    }

    async fn blobs(&self, _: &[ArtifactId]) -> Result<HashMap<ArtifactId, Vec<StoredBlob>>> {
        unreachable!("{ELSE}")
    }

    async fn totals(&self) -> Result<Totals> {
        unreachable!("{ELSE}")
    }

    async fn fulfil(&self, _: ArtifactId, _: &core::Fetched, _: &str, _: Timestamp) -> Result<core::Artifact> {
        unreachable!("{ELSE}")
    }

    async fn quarantine(&self, _: ArtifactId, _: &str, _: &str, _: Timestamp) -> Result<core::Artifact> {
        unreachable!("{ELSE}")
    }

    async fn release(&self, _: ArtifactId, _: &str, _: &str, _: Timestamp) -> Result<core::Artifact> {
        unreachable!("{ELSE}")
    }
}
