//! The one place where an operation is limited in time, and tried again when it lost against another one.

use std::time::Duration;

use distmirror_core::{Error, Result};
use sea_orm::{
    DatabaseTransaction, DbBackend, DbErr, EntityTrait, RuntimeErr, Select, SqliteTransactionMode, TransactionOptions,
    TransactionTrait,
    sqlx::{self, mysql::MySqlDatabaseError},
};
use tokio::sync::MutexGuard;
use uuid::Uuid;

use crate::catalog::SqlCatalog;

/// How long an operation may take with all that it waits for; then the catalog counts as unavailable.
pub(super) const OPERATION_LIMIT: Duration = Duration::from_secs(5);

/// How often an operation is tried. Each time that one loses a race, another has won it.
const ATTEMPTS: u32 = 10;

/// What comes of one attempt.
pub(super) type Attempt<T> = Result<T, Trouble>;

/// Why an attempt did not succeed.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It is the answer: trying again would give the same.
    Refused(Error),
    /// Somebody changed the row between reading and writing it.
    Outrun,
    /// The database said so.
    Database(DbErr),
    /// The commit failed, so that nobody knows whether it was done.
    Uncertain(DbErr),
    /// A row holds what this version never wrote.
    Malformed(String),
}

impl From<DbErr> for Trouble {
    fn from(error: DbErr) -> Self {
        Self::Database(error)
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl Trouble {
    fn may_pass(&self) -> bool {
        match self {
            Self::Outrun => true,
            Self::Database(error) => is_passing(error),
            Self::Refused(_) | Self::Uncertain(_) | Self::Malformed(_) => false,
        }
    }
}

impl From<Trouble> for Error {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Refused(error) => error,
            Trouble::Outrun => Self::catalog("others kept changing the same row"),
            Trouble::Database(error) | Trouble::Uncertain(error) => Self::catalog(error),
            Trouble::Malformed(what) => Self::catalog(format!("a row is malformed: {what}")),
        }
    }
}

impl SqlCatalog {
    /// Does something that only reads.
    pub(super) async fn read<T, F>(&self, work: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Attempt<T>>,
    {
        limited(repeated(work)).await
    }

    /// The rows of a query.
    pub(super) async fn rows<E: EntityTrait>(&self, query: Select<E>) -> Result<Vec<E::Model>> {
        self.read(async || Ok(query.clone().all(&self.connection).await?)).await
    }

    /// The first row of a query.
    pub(super) async fn row<E: EntityTrait>(&self, query: Select<E>) -> Result<Option<E::Model>> {
        self.read(async || Ok(query.clone().one(&self.connection).await?)).await
    }

    /// Does something that writes.
    pub(super) async fn write<T, F>(&self, work: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Attempt<T>>,
    {
        let result = self.write_apart_from_totals(work).await;
        self.totals.forget();
        result
    }

    /// Does something that writes, and changes nothing of what the totals count.
    pub(super) async fn write_apart_from_totals<T, F>(&self, work: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Attempt<T>>,
    {
        limited(async {
            let _turn = self.writers_turn().await;
            repeated(work).await
        })
        .await
    }

    /// Begins a transaction that is going to write.
    pub(super) async fn begin(&self) -> Attempt<DatabaseTransaction> {
        // Begun as a reader, a transaction of SQLite fails at its first write if another one has written meanwhile.
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        Ok(self.writer.begin_with_options(options).await?)
    }

    async fn writers_turn(&self) -> Option<MutexGuard<'_, ()>> {
        match self.backend() {
            DbBackend::Sqlite => Some(self.sqlite_writer.lock().await),
            _ => None,
        }
    }
}

/// Commits; after a failure nobody knows whether it was done, so that it must not be done again.
pub(super) async fn commit(transaction: DatabaseTransaction) -> Attempt<()> {
    transaction
        .commit()
        .await
        .map_err(|error| if is_conflict(&error) { Trouble::Database(error) } else { Trouble::Uncertain(error) })
}

pub(super) async fn limited<T>(work: impl Future<Output = Attempt<T>>) -> Result<T> {
    match tokio::time::timeout(OPERATION_LIMIT, work).await {
        Ok(result) => result.map_err(Error::from),
        Err(_) => Err(Error::catalog(format!("no answer within {} seconds", OPERATION_LIMIT.as_secs()))),
    }
}

pub(super) async fn repeated<T, F>(work: impl Fn() -> F) -> Attempt<T>
where
    F: Future<Output = Attempt<T>>,
{
    let mut attempt = 1;
    loop {
        match work().await {
            Err(trouble) if attempt < ATTEMPTS && trouble.may_pass() => tokio::time::sleep(pause(attempt)).await,
            result => return result,
        }
        attempt += 1;
    }
}

/// Longer each time, and different for everyone, so that those who collided do not collide again.
fn pause(attempt: u32) -> Duration {
    let random = u32::from(Uuid::new_v4().as_bytes()[0]);
    Duration::from_micros(u64::from(attempt * (1000 + random * 64)))
}

/// Whether it was not done, and may well be done the next time.
fn is_passing(error: &DbErr) -> bool {
    /// PostgreSQL ends its connections with this when it is stopped or started anew.
    const SHUTTING_DOWN: &str = "57P01";
    let connection_lost = match driver_error(error) {
        Some(sqlx::Error::Io(_)) => true,
        Some(sqlx::Error::Database(error)) => error.code().is_some_and(|code| code == SHUTTING_DOWN),
        _ => false,
    };
    connection_lost || is_conflict(error)
}

/// Whether the database undid everything because of somebody else's transaction.
fn is_conflict(error: &DbErr) -> bool {
    /// Lock wait timeout, deadlock, and MariaDB's "record has changed since last read".
    const MYSQL: [u16; 3] = [1205, 1213, 1020];
    /// Serialization failure and deadlock, and the primary and extended codes of `SQLITE_BUSY` and `SQLITE_LOCKED`.
    const OTHERS: [&str; 7] = ["40001", "40P01", "5", "261", "517", "6", "262"];
    let Some(sqlx::Error::Database(error)) = driver_error(error) else { return false };
    match error.try_downcast_ref::<MySqlDatabaseError>() {
        Some(error) => MYSQL.contains(&error.number()),
        None => error.code().is_some_and(|code| OTHERS.contains(&code.as_ref())),
    }
}

fn driver_error(error: &DbErr) -> Option<&sqlx::Error> {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(error))
        | DbErr::Exec(RuntimeErr::SqlxError(error))
        | DbErr::Query(RuntimeErr::SqlxError(error)) => Some(error),
        _ => None,
    }
}
