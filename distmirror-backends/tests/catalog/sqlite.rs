//! Files of SQLite that are locked, damaged, or something else.

use std::{fs, path::Path, sync::Arc, time::Duration};

use distmirror_backends::{CatalogOptions, SqlCatalog, catalog::check_url};
use distmirror_core::{Artifacts, Error, Fetches, LeaseRequest, Result};
use jiff::Timestamp;
use sea_orm::sqlx::{Connection, Executor, SqliteConnection};

use crate::{bounded, completes_a_killed_migration, heals, is_unavailable, open, try_open, wanted};

fn url(path: &Path) -> String {
    format!("sqlite://{}", path.display())
}

/// Opening fails in one line that names the file and contains this.
async fn refused(path: &Path, why: &str) {
    let opened = bounded(try_open(&url(path), true)).await;
    let message = opened.expect_err("this must not open").chain();
    assert!(
        message.contains(why) && message.contains(&path.display().to_string()) && !message.contains('\n'),
        "{message}"
    );
}

async fn connect(path: &Path) -> SqliteConnection {
    SqliteConnection::connect(&url(path)).await.unwrap()
}

#[tokio::test]
async fn a_file_is_made_once_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new folder/käse %20.db");
    let id = open(&url(&path)).await.declare(&wanted("https://h.test/a"), Timestamp::now()).await.unwrap().artifact.id;
    assert!(path.is_file(), "the file is made, with the folders above it, under the very name that was given");
    let again = open(&url(&path)).await;
    assert!(again.artifact(id).await.unwrap().is_some(), "what is there is used, not replaced");
}

#[tokio::test]
async fn a_directory_is_no_database() {
    let folder = tempfile::tempdir().unwrap();
    refused(folder.path(), "is a directory").await;
}

#[tokio::test]
async fn a_damaged_header_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    open(&url(&path)).await.declare(&wanted("https://h.test/a"), Timestamp::now()).await.unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[..100].fill(0x58);
    fs::write(&path, &bytes).unwrap();
    refused(&path, "is not a file of SQLite, or its header is damaged").await;
    assert_eq!(fs::read(&path).unwrap(), bytes, "a file that is refused is not touched");
}

#[tokio::test]
async fn a_damaged_schema_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    drop(open(&url(&path)).await);
    let mut bytes = fs::read(&path).unwrap();
    bytes[100..4096].fill(0x58);
    fs::write(&path, &bytes).unwrap();
    fs::remove_file(folder.path().join("catalog.db-wal")).ok();
    fs::remove_file(folder.path().join("catalog.db-shm")).ok();
    refused(&path, "malformed").await;
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    open(&url(&path)).await;
    let mut connection = connect(&path).await;
    connection.execute("INSERT INTO seaql_migrations (version, applied_at) VALUES ('m9999_future', 0)").await.unwrap();
    refused(&path, "newer version of distmirror (`m9999_future`)").await;
}

#[tokio::test]
async fn without_migrating_old_tables_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    let message = try_open(&url(&path), false).await.expect_err("there are no tables").chain();
    assert!(message.contains("run `distmirror migrate`"), "{message}");
    open(&url(&path)).await.migrate().await.expect("migrating again changes nothing");
    try_open(&url(&path), false).await.expect("the tables are there now");
}

#[tokio::test]
async fn a_migration_that_was_killed_is_completed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    completes_a_killed_migration(&url(&path)).await;
    connect(&path).await.execute("DELETE FROM seaql_migrations; DROP INDEX artifacts_by_name_key").await.unwrap();
    let again = open(&url(&path)).await;
    again.declare(&wanted("https://h.test/b"), Timestamp::now()).await.expect("all indexes are there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_file_gives_errors_in_bounded_time_and_heals() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    let catalog = open(&url(&path)).await;
    let id = catalog.declare(&wanted("https://h.test/a"), Timestamp::now()).await.unwrap().artifact.id;
    let mut other = connect(&path).await;
    other.execute("BEGIN EXCLUSIVE").await.unwrap();
    let writes = futures::future::join_all((0..20).map(|number| {
        let catalog = Arc::clone(&catalog);
        async move { bounded(catalog.declare(&wanted(&format!("https://h.test/{number}")), Timestamp::now())).await }
    }));
    let (writes, read) = tokio::join!(writes, bounded(catalog.artifact(id)));
    assert!(writes.iter().all(is_unavailable), "nobody can write to a locked file: {writes:?}");
    assert!(matches!(read, Ok(Some(_))), "reading goes on beside a writer: {read:?}");
    other.execute("ROLLBACK").await.unwrap();
    heals(&catalog, id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_vanished_is_not_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    drop(open(&url(&path)).await);
    let catalog =
        SqlCatalog::open(&CatalogOptions { url: url(&path), max_connections: 2, migrate: false }).await.unwrap();
    fs::rename(&path, folder.path().join("elsewhere.db")).unwrap();
    let reads = futures::future::join_all((0..8).map(|_| catalog.artifact(distmirror_core::ArtifactId::new()))).await;
    assert!(reads.iter().all(|read| matches!(read, Ok(None)) || is_unavailable(read)), "{reads:?}");
    assert!(!path.exists(), "an empty file would look like an empty catalog");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_writers_wait_for_their_turn() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = open(&url(&folder.path().join("catalog.db"))).await;
    let tasks: Vec<_> = (0..200)
        .map(|number| {
            let catalog = Arc::clone(&catalog);
            tokio::spawn(async move {
                catalog.declare(&wanted(&format!("https://h.test/{number}")), Timestamp::now()).await?;
                let request = LeaseRequest {
                    worker: "w".to_owned(),
                    limit: 1,
                    lease_for: Duration::from_secs(60),
                    busy_hosts: Vec::new(),
                };
                catalog.lease(&request, Timestamp::now()).await.map(|jobs| jobs.len())
            })
        })
        .collect();
    let results: Vec<Result<usize>> =
        futures::future::join_all(tasks).await.into_iter().map(|task| task.unwrap()).collect();
    assert!(results.iter().all(Result::is_ok), "{:?}", results.iter().find(|result| result.is_err()));
}

#[tokio::test]
async fn malformed_urls_are_invalid() {
    for bad in ["", "catalog.db", "sqlite://", "oracle://h/d"] {
        assert!(check_url(bad).is_err(), "{bad}");
        assert!(matches!(try_open(bad, true).await, Err(Error::Invalid(_))), "{bad}");
    }
    let options = CatalogOptions { url: "postgres://u:secret@h/d".to_owned(), max_connections: 1, migrate: true };
    assert!(!format!("{options:?}").contains("secret"), "{options:?}");
}
