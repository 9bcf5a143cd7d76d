//! The catalog in SQL, on each database: every promise of the trait, and what happens when the database is in trouble.
#![expect(clippy::unwrap_used, reason = "these are tests: a panic is their verdict")]

#[path = "catalog/relay.rs"]
mod relay;
#[path = "catalog/sqlite.rs"]
mod sqlite;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use distmirror_backends::{CatalogOptions, SqlCatalog};
use distmirror_core::{
    ArtifactId, Artifacts, Checksums, Content, Digests, Error, Fetched, Fetches, LeaseRequest, NewDeclaration, Result,
    Source, Uri, conformance,
};
use jiff::Timestamp;
use sea_orm::ConnectionTrait;

use self::relay::Relay;

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_keeps_every_promise() {
    let folder = tempfile::tempdir().unwrap();
    let number = Mutex::new(0);
    conformance::catalog(async || {
        let number = {
            let mut number = number.lock().unwrap();
            *number += 1;
            *number
        };
        open(&format!("sqlite://{}/{number}.db", folder.path().display())).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_keeps_every_promise() {
    let server = testkit::postgres().await;
    conformance::catalog(async || open(&server.fresh_database().await).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_keeps_every_promise() {
    let server = testkit::mariadb().await;
    conformance::catalog(async || open(&server.fresh_database().await).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_on_postgres_agree() {
    let server = testkit::postgres().await;
    replicas_agree(&server.fresh_database().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_on_mariadb_agree() {
    let server = testkit::mariadb().await;
    replicas_agree(&server.fresh_database().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_was_killed_on_mariadb_is_completed() {
    let server = testkit::mariadb().await;
    completes_a_killed_migration(&server.fresh_database().await).await;
}

/// MariaDB and SQLite commit each statement of a migration by itself.
async fn completes_a_killed_migration(url: &str) {
    open(url).await;
    let connection = sea_orm::Database::connect(url).await.unwrap();
    for undo in ["DELETE FROM seaql_migrations", "DROP TABLE audit", "DROP TABLE misses"] {
        connection.execute_unprepared(undo).await.unwrap();
    }
    let message = try_open(url, false).await.expect_err("the migration is not applied").chain();
    assert!(message.contains("run `distmirror migrate`"), "{message}");
    let again = open(url).await;
    again.declare(&wanted("https://h.test/a"), Timestamp::now()).await.expect("all tables are there");
    completes_a_migration_of_what_is_there(url, &again).await;
}

/// A catalog of an earlier version, in which a file is present, gets the columns that came later; some it has already.
async fn completes_a_migration_of_what_is_there(url: &str, earlier: &SqlCatalog) {
    let request =
        LeaseRequest { worker: "w".to_owned(), limit: 1, lease_for: Duration::from_secs(60), busy_hosts: Vec::new() };
    let job = earlier.lease(&request, Timestamp::now()).await.unwrap().remove(0);
    let content = Content {
        digests: Digests::of(b"abc"),
        size: 3,
        content_type: None,
        content_disposition: None,
        content_encoding: None,
        last_modified: None,
        source: Source::default(),
    };
    let fetched = Fetched::file(content);
    earlier.complete(&job.lease, &fetched, Timestamp::now()).await.unwrap();
    let connection = sea_orm::Database::connect(url).await.unwrap();
    for undo in [
        "DELETE FROM seaql_migrations WHERE version = 'm0002_images'",
        "ALTER TABLE artifact_blobs DROP COLUMN digest",
        "ALTER TABLE artifact_blobs DROP COLUMN platform",
        "ALTER TABLE declarations DROP COLUMN tag",
    ] {
        connection.execute_unprepared(undo).await.unwrap();
    }
    let later = open(url).await;
    let id = job.lease.artifact;
    assert_eq!(later.blobs(&[id]).await.unwrap()[&id], fetched.blobs, "what was recorded before is read as before");
    assert_eq!(later.declarations(&[id]).await.unwrap()[&id][0].tag, None);
    assert_eq!(later.artifact(id).await.unwrap().unwrap().selection, None);
}

/// Two processes begin at once on an empty database, and then a hundred people declare one name through both.
async fn replicas_agree(url: &str) {
    let (one, other) = tokio::join!(open(url), open(url));
    let tasks: Vec<_> = (0..100)
        .map(|number| {
            let replica = Arc::clone(if number % 2 == 0 { &one } else { &other });
            tokio::spawn(async move { replica.declare(&wanted("https://h.test/a"), Timestamp::now()).await })
        })
        .collect();
    let mut declared = Vec::new();
    for task in tasks {
        declared.push(task.await.unwrap().expect("every declaration is accepted"));
    }
    let id = declared[0].artifact.id;
    assert!(declared.iter().all(|one| one.artifact.id == id), "all get one id");
    assert_eq!(declared.iter().filter(|one| one.is_new).count(), 1, "one of them made the artifact");
    assert_eq!(one.declarations(&[id]).await.unwrap()[&id].len(), 100, "each declaration is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_on_the_way_to_postgres_is_bounded_and_passes() {
    let server = testkit::postgres().await;
    trouble_is_bounded_and_passes(&server.fresh_database().await, server.port()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_on_the_way_to_mariadb_is_bounded_and_passes() {
    let server = testkit::mariadb().await;
    trouble_is_bounded_and_passes(&server.fresh_database().await, server.port()).await;
}

async fn trouble_is_bounded_and_passes(url: &str, port: u16) {
    let relay = Relay::start(port).await;
    let catalog = open(&url.replace(&format!(":{port}/"), &format!(":{}/", relay.port()))).await;
    let id = catalog.declare(&wanted("https://h.test/a"), Timestamp::now()).await.unwrap().artifact.id;

    relay.cut();
    assert!(catalog.artifact(id).await.unwrap().is_some(), "a connection that was cut is replaced, and nobody notices");
    relay.cut();
    catalog.declare(&wanted("https://h.test/b"), Timestamp::now()).await.expect("also where something is written");

    relay.freeze(true);
    // More than there are connections.
    let reads = futures::future::join_all((0..20).map(|_| bounded(catalog.artifact(id)))).await;
    assert!(reads.iter().all(is_unavailable), "a catalog that does not answer is unavailable: {reads:?}");
    let write = bounded(catalog.declare(&wanted("https://h.test/c"), Timestamp::now())).await;
    assert!(is_unavailable(&write), "a catalog that does not answer is unavailable: {write:?}");
    relay.freeze(false);
    heals(&catalog, id).await;

    relay.freeze(true);
    assert!(is_unavailable(&bounded(catalog.artifact(id)).await), "a catalog that does not answer is unavailable");
    relay.cut();
    relay.freeze(false);
    heals(&catalog, id).await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_error_without_the_password() {
    let port = testkit::free_port();
    for scheme in ["postgres", "mysql"] {
        let opened = bounded(try_open(&format!("{scheme}://user:secret@127.0.0.1:{port}/d"), true)).await;
        let message = opened.expect_err("nobody listens there").chain();
        assert!(message.contains("****") && !message.contains("secret") && !message.contains('\n'), "{message}");
    }
}

/// The catalog answers again, by itself, within seconds.
async fn heals(catalog: &SqlCatalog, id: ArtifactId) {
    let started = Instant::now();
    while !matches!(catalog.artifact(id).await, Ok(Some(_))) {
        assert!(started.elapsed() < Duration::from_secs(10), "the catalog must come back by itself");
    }
    let again = catalog.declare(&wanted("https://h.test/later"), Timestamp::now()).await;
    assert!(again.is_ok(), "what could be written before can be written again: {again:?}");
}

/// The outcome, which must be there within the time that every operation is given.
async fn bounded<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(6), work).await.expect("every operation ends within 6 seconds")
}

fn is_unavailable<T>(result: &Result<T>) -> bool {
    matches!(result, Err(Error::CatalogUnavailable(_)))
}

/// Opens a catalog whose tables are made if they are not there.
async fn open(url: &str) -> Arc<SqlCatalog> {
    Arc::new(try_open(url, true).await.expect("the catalog opens"))
}

async fn try_open(url: &str, migrate: bool) -> Result<SqlCatalog> {
    SqlCatalog::open(&CatalogOptions { url: url.to_owned(), max_connections: 8, migrate }).await
}

fn wanted(uri: &str) -> NewDeclaration {
    NewDeclaration {
        name: uri.parse::<Uri>().unwrap().into(),
        expected: Checksums::none(),
        image: None,
        who: "alice".to_owned(),
        reason: "r".to_owned(),
        project: None,
        license: None,
        ticket: None,
    }
}
