//! The catalog in SQL: SQLite, PostgreSQL, and MySQL or MariaDB, by the same statements.
//!
//! It uses plain SQL only, so that whatever speaks the protocol of PostgreSQL or MySQL will do: no vendor's locks, no
//! `SKIP LOCKED`. A row is changed by compare-and-set on its `revision`; the rules of the domain are those of
//! [`distmirror_core::catalog::rules`]. Tables are in `schema`, rows in `rows`, and everything that may have to be tried
//! again is tried again in `attempt`, and nowhere else.
//!
//! Whoever embeds this with SQLite saves half the cost of a look-up by the flag in `.cargo/config.toml`, which holds for builds in
//! this workspace only.

mod artifacts;
mod attempt;
mod completions;
mod connect;
mod fetches;
mod images;
mod ledger;
mod location;
mod pools;
mod rows;
mod schema;
mod totals;
mod upkeep;
mod usage;

use std::fmt;

use distmirror_core::{Error, Result};
use sea_orm::{DatabaseConnection, DbBackend};
use tokio::sync::Mutex;

pub use self::pools::describe_metrics;
use self::{completions::Waiting, location::Location, totals::TotalsCache};

/// How to open a [`SqlCatalog`].
#[derive(Clone)]
pub struct CatalogOptions {
    /// `sqlite://PATH`, `postgres://...` or `mysql://...`; the path of SQLite is taken as it stands.
    pub url: String,
    /// The most connections that are open at a time; at least 1, and at least 2 of SQLite.
    pub max_connections: u32,
    /// Whether `open` brings the tables up to date; otherwise tables that are not are an error.
    pub migrate: bool,
}

impl fmt::Debug for CatalogOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CatalogOptions")
            .field("url", &location::redacted(&self.url))
            .field("max_connections", &self.max_connections)
            .field("migrate", &self.migrate)
            .finish()
    }
}

/// Checks the URL of a catalog without opening it.
///
/// # Errors
/// A sentence that says what is wrong, and names the forms that are accepted.
pub fn check_url(url: &str) -> Result<(), String> {
    Location::parse(url).map(drop)
}

/// A catalog in an SQL database. Any number of processes may use one PostgreSQL or MySQL at a time; a file of SQLite
/// belongs to the processes of one machine.
pub struct SqlCatalog {
    connection: DatabaseConnection,
    /// Where changes are made. For SQLite this is one connection of its own: what it has in memory stays good, while each
    /// other one reads everything anew after a change that was not its own.
    writer: DatabaseConnection,
    location: Location,
    /// SQLite has one writer at a time. Whoever waits here waits in order, instead of spinning on `SQLITE_BUSY`.
    sqlite_writer: Mutex<()>,
    completions: Waiting,
    totals: TotalsCache,
}

impl SqlCatalog {
    /// Opens the catalog; a file of SQLite is made if nothing is there, with the folders above it.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the URL is malformed. [`Error::CatalogUnavailable`], whose cause says why in one line,
    /// when the database does not answer, is no database, or has tables that this version does not know how to use.
    pub async fn open(options: &CatalogOptions) -> Result<Self> {
        let location = Location::parse(&options.url).map_err(|message| Error::invalid("catalog.url", message))?;
        connect::prepare(&location)?;
        if options.migrate {
            schema::migrate(&location).await?;
        }
        let connection =
            connect::pool(&location, readers(&location, options)).await.map_err(|error| at(&location, error))?;
        schema::check(&connection).await.map_err(|error| at(&location, error))?;
        let writer = match location {
            Location::Sqlite(_) => connect::pool(&location, 1).await.map_err(|error| at(&location, error))?,
            _ => connection.clone(),
        };
        Ok(Self {
            connection,
            writer,
            location,
            sqlite_writer: Mutex::default(),
            completions: Waiting::default(),
            totals: TotalsCache::default(),
        })
    }

    /// Brings the tables up to date. May be interrupted anywhere and done again, also by several processes at once.
    ///
    /// # Errors
    /// [`Error::CatalogUnavailable`] when the database does not answer or refuses.
    pub async fn migrate(&self) -> Result<()> {
        schema::migrate(&self.location).await
    }

    fn backend(&self) -> DbBackend {
        self.connection.get_database_backend()
    }
}

impl fmt::Debug for SqlCatalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlCatalog").field("location", &self.location.to_string()).finish_non_exhaustive()
    }
}

/// How many connections there are beside the writer of SQLite.
fn readers(location: &Location, options: &CatalogOptions) -> u32 {
    match location {
        Location::Sqlite(_) => options.max_connections.saturating_sub(1),
        _ => options.max_connections,
    }
}

/// Says which database it is that makes trouble.
fn at(location: &Location, error: impl fmt::Display) -> Error {
    Error::catalog(format!("`{location}`: {error}"))
}
