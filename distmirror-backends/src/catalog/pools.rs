//! How the connections to the database are used, as gauges.

use metrics::{describe_gauge, gauge};
use sea_orm::{DatabaseConnection, DbBackend, sqlx};

use crate::catalog::{SqlCatalog, location::Location};

/// Describes what [`SqlCatalog::show_connections`] shows. To be called once, after the recorder is installed.
pub fn describe_metrics() {
    describe_gauge!(
        "distmirror_catalog_connections",
        "Connections to the database by state: `used` by an operation, or `idle`."
    );
    describe_gauge!("distmirror_catalog_connections_max", "The most connections to the database that are opened.");
}

impl SqlCatalog {
    /// Shows how many connections are open, and how many of them are used. Asks nobody.
    pub fn show_connections(&self) {
        let pools = match self.location {
            // The writer of SQLite has a pool of its own; elsewhere it is the same one.
            Location::Sqlite(_) => vec![pool(&self.connection), pool(&self.writer)],
            _ => vec![pool(&self.connection)],
        };
        let sum = |of: fn(&Pool) -> u32| f64::from(pools.iter().map(of).sum::<u32>());
        gauge!("distmirror_catalog_connections", "state" => "idle").set(sum(|pool| pool.idle));
        gauge!("distmirror_catalog_connections", "state" => "used").set(sum(|pool| pool.open - pool.idle));
        gauge!("distmirror_catalog_connections_max").set(sum(|pool| pool.max));
    }
}

struct Pool {
    open: u32,
    idle: u32,
    max: u32,
}

fn pool(connection: &DatabaseConnection) -> Pool {
    match connection.get_database_backend() {
        DbBackend::Sqlite => Pool::of(connection.get_sqlite_connection_pool()),
        DbBackend::Postgres => Pool::of(connection.get_postgres_connection_pool()),
        _ => Pool::of(connection.get_mysql_connection_pool()),
    }
}

impl Pool {
    fn of<D: sqlx::Database>(pool: &sqlx::Pool<D>) -> Self {
        let (open, idle) = (pool.size(), u32::try_from(pool.num_idle()).unwrap_or(u32::MAX));
        // Both change while they are asked for.
        Self { open, idle: idle.min(open), max: pool.options().get_max_connections() }
    }
}
