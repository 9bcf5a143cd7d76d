//! How often a list asks the catalog.

use std::sync::Arc;

use distmirror_core::{
    Artifacts, Checksums, Filter, Ledger, NewDeclaration, Page, PageRequest, Uri, UsageBatch, UsageReport, UsedBy,
    faulty::{Faults, FaultyCatalog},
    memory::MemoryCatalog,
};
use jiff::Timestamp;

use super::*;

#[tokio::test]
async fn a_page_asks_once_for_all_that_it_shows() {
    let (inner, faults) = (Arc::new(MemoryCatalog::new()), Faults::default());
    for (number, who) in [(1, "alice"), (2, "bob"), (3, "carol"), (1, "dave")] {
        inner.declare(&wanted(number, who), Timestamp::now()).await.unwrap();
    }
    let mut found = inner.list(&Filter::default(), &PageRequest::first(100)).await.unwrap();
    inner.record_usage(&used(found.items[0].id, 7)).await.unwrap();
    found.items.push(found.items[0].clone());
    let catalog = FaultyCatalog::new(inner, faults.clone());
    let shown = artifacts(&catalog, found).await.unwrap();
    let who =
        |artifact: &Artifact| artifact.declarations.iter().map(|one| one.who.clone()).collect::<Vec<_>>().join(" ");
    assert_eq!(shown.items.iter().map(who).collect::<Vec<_>>(), ["carol", "bob", "alice dave", "carol"]);
    let bytes: Vec<_> = shown.items.iter().map(|artifact| artifact.usage.as_ref().map(|usage| usage.bytes)).collect();
    assert_eq!(bytes, [Some(7), None, None, Some(7)]);
    let asked = || ["declarations", "usage", "blobs", "artifact", "daily_usage"].map(|what| faults.calls(what));
    assert_eq!(asked(), [1, 1, 0, 0, 0], "one question of each kind for the whole page");

    let empty = artifacts(&catalog, Page { items: Vec::new(), next: None }).await.unwrap();
    assert!(empty.items.is_empty());
    assert_eq!(asked(), [1, 1, 0, 0, 0], "an empty page asks nothing");
}

fn used(artifact: core::ArtifactId, bytes: u64) -> UsageBatch {
    let (by, now) = (UsedBy::Project("p".into()), Timestamp::now());
    let usage = core::Usage::once(bytes, now);
    UsageBatch::new(vec![UsageReport { artifact, day: core::usage::day_of(now), by, usage }])
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
