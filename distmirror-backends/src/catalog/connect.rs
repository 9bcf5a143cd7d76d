//! Connections: made so that a database that is locked, frozen or gone gives an error in bounded time, and is used again
//! as soon as it is back.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use distmirror_core::{
    Result,
    durable::{OPEN, folder_of, make_folders},
};
use futures::{FutureExt, future::BoxFuture};
use sea_orm::{
    ConnectOptions, Database, DatabaseConnection, DbErr,
    sqlx::{
        self, Connection, Executor,
        sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
    },
};

use crate::catalog::{at, location::Location};

/// How long an operation waits for a connection. With the waits below it stays under
/// [`OPERATION_LIMIT`](super::attempt::OPERATION_LIMIT), so that the more telling error comes first.
const ACQUIRE_LIMIT: Duration = Duration::from_secs(4);

/// How long a database waits for somebody else's lock.
const LOCK_LIMIT: Duration = Duration::from_secs(4);

/// A connection that does not answer in this time when it is put back is thrown away.
const PING_LIMIT: Duration = Duration::from_secs(2);

/// How long a connection may have been idle to be used without asking whether it is alive.
const FRESH_FOR: Duration = Duration::from_secs(1);

/// Whether a statement may run as long as it likes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    Bounded,
    Unbounded,
}

/// Makes the file of SQLite if nothing is there, and refuses what is no database: never replaces anything.
pub(super) fn prepare(location: &Location) -> Result<()> {
    let Location::Sqlite(path) = location else { return Ok(()) };
    make_file(path).and_then(|()| check_file(path)).map_err(|error| at(location, error))
}

/// Connections for everyday work.
pub(super) async fn pool(location: &Location, max_connections: u32) -> Result<DatabaseConnection, DbErr> {
    Database::connect(options(location, max_connections.max(1), Patience::Bounded)).await
}

/// One connection for changing tables, which takes as long as it takes.
pub(super) async fn for_migration(location: &Location) -> Result<DatabaseConnection, DbErr> {
    Database::connect(options(location, 1, Patience::Unbounded)).await
}

fn options(location: &Location, max_connections: u32, patience: Patience) -> ConnectOptions {
    let url = match location {
        // The path goes in below, as it stands: a URL would have to escape it.
        Location::Sqlite(_) => "sqlite://catalog".to_owned(),
        Location::Postgres(url) | Location::MySql(url) => url.to_string(),
    };
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(max_connections)
        .acquire_timeout(ACQUIRE_LIMIT)
        .sqlx_logging(false)
        .record_stmt_in_spans(false);
    match location {
        Location::Sqlite(path) => sqlite(&mut options, path),
        Location::Postgres(_) => postgres(&mut options, patience),
        Location::MySql(_) => mysql(&mut options),
    }
    options
}

fn sqlite(options: &mut ConnectOptions, path: &Path) {
    let path = path.to_owned();
    options.test_before_acquire(false);
    options.map_sqlx_sqlite_opts(move |options: SqliteConnectOptions| {
        options
            .filename(&path)
            // `prepare` made it. If it is gone now, an empty one in its place would look like an empty catalog.
            .create_if_missing(false)
            .journal_mode(SqliteJournalMode::Wal)
            // With less, what was acknowledged can be lost when the power is cut.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(LOCK_LIMIT)
    });
}

fn postgres(options: &mut ConnectOptions, patience: Patience) {
    options.set_application_name("distmirror").test_before_acquire_if_idle_for(FRESH_FOR);
    if patience == Patience::Bounded {
        options.statement_timeout(super::attempt::OPERATION_LIMIT);
    }
    options.map_sqlx_postgres_pool_opts(|pool| pool.after_release(|connection, _| keep_if_alive(connection)));
}

fn mysql(options: &mut ConnectOptions) {
    options.test_before_acquire_if_idle_for(FRESH_FOR);
    options.map_sqlx_mysql_pool_opts(|pool| {
        let pool = pool.after_release(|connection, _| keep_if_alive(connection));
        pool.after_connect(|connection, _| prepare_mysql_session(connection).boxed())
    });
}

/// Each statement of a transaction sees what others have committed, as with PostgreSQL: reading a row after an insert that
/// somebody else's won must find theirs.
async fn prepare_mysql_session(connection: &mut sqlx::MySqlConnection) -> Result<(), sqlx::Error> {
    connection.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
    let wait = format!("SET SESSION innodb_lock_wait_timeout = {}", LOCK_LIMIT.as_secs());
    connection.execute(sqlx::AssertSqlSafe(wait)).await?;
    Ok(())
}

/// A pool would wait for ever for the answer on a connection that is put back in the middle of a statement, and keep its
/// place: after a network that swallows packets, all places would be taken by the dead.
fn keep_if_alive<C: Connection>(connection: &mut C) -> BoxFuture<'_, Result<bool, sqlx::Error>> {
    async {
        match tokio::time::timeout(PING_LIMIT, connection.ping()).await {
            Ok(answer) => answer.map(|()| true),
            Err(_) => Err(sqlx::Error::PoolTimedOut),
        }
    }
    .boxed()
}

fn make_file(path: &Path) -> io::Result<()> {
    let folder = folder_of(path);
    if !folder.is_dir() {
        // The names of the files in it are SQLite's to make durable.
        make_folders(folder, OPEN)?;
    }
    match File::create_new(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn check_file(path: &Path) -> io::Result<()> {
    // Section 1.3 of the SQLite file format. A file of no bytes is an empty database.
    const HEADER: &[u8; 16] = b"SQLite format 3\0";
    if fs::metadata(path)?.is_dir() {
        return Err(io::Error::other("is a directory, not a file of SQLite"));
    }
    let mut start = Vec::new();
    File::open(path)?.take(HEADER.len() as u64).read_to_end(&mut start)?;
    // Where the power was cut while the first page was written there may be zeros: SQLite undoes that by its journal.
    let is_undone = start.iter().all(|byte| *byte == 0) && journal_of(path).exists();
    if !start.is_empty() && start != HEADER && !is_undone {
        return Err(io::Error::other("is not a file of SQLite, or its header is damaged: restore it from a backup"));
    }
    Ok(())
}

/// The file from which SQLite undoes what was not completed.
fn journal_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-journal");
    name.into()
}
