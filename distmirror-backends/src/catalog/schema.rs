//! The tables, as migrations: each is applied once, in order, and never changed after it was released.
//!
//! Migrations may be killed anywhere and run by several processes at once: MySQL and SQLite commit each statement by
//! itself, so every statement first asks whether its work is done. A migration that only adds lets old processes go on.

mod add;
mod first;
mod images;
mod upkeep;
mod usage;

use std::time::Duration;

use distmirror_core::Result;
use sea_orm::{DatabaseConnection, DbErr};
use sea_orm_migration::{MigrationTrait, MigratorTrait, SchemaManager, async_trait, seaql_migrations};

use crate::catalog::{at, connect, location::Location};

/// How often migrating is tried. When two processes begin at once, one of them finds things made under its hands.
const ATTEMPTS: u32 = 5;

/// How long to wait before it is tried again.
const PAUSE: Duration = Duration::from_millis(300);

struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(first::First), Box::new(images::Images), Box::new(upkeep::Upkeep), Box::new(usage::Usage)]
    }
}

/// Applies what was not applied yet.
pub(super) async fn migrate(location: &Location) -> Result<()> {
    let unavailable = |error: DbErr| at(location, error);
    let connection = connect::for_migration(location).await.map_err(unavailable)?;
    let mut result = apply(&connection).await;
    for _ in 1..ATTEMPTS {
        if result.is_ok() {
            break;
        }
        tokio::time::sleep(PAUSE).await;
        result = apply(&connection).await;
    }
    // The work is done, or the error that counts is at hand.
    connection.close().await.ok();
    result.map_err(|problem| at(location, problem))
}

/// Whether the tables are those of this version.
pub(super) async fn check(connection: &DatabaseConnection) -> Result<(), String> {
    let applied = applied(connection).await.map_err(|error| error.to_string())?;
    refuse_newer(&applied)?;
    let pending: Vec<_> = names().into_iter().filter(|name| !applied.contains(name)).collect();
    if pending.is_empty() {
        return Ok(());
    }
    Err(format!("the tables are not up to date ({} not applied): run `distmirror migrate`", pending.join(", ")))
}

async fn apply(connection: &DatabaseConnection) -> Result<(), String> {
    let before = applied(connection).await.map_err(|error| error.to_string())?;
    refuse_newer(&before)?;
    if before.len() == names().len() {
        return Ok(());
    }
    Migrator::up(connection, None).await.map_err(|error| error.to_string())
}

/// A table that a newer version has changed must not be written by this one.
fn refuse_newer(applied: &[String]) -> Result<(), String> {
    let known = names();
    match applied.iter().find(|name| !known.contains(name)) {
        Some(newer) => {
            Err(format!("the tables were made by a newer version of distmirror (`{newer}`): use that version"))
        }
        None => Ok(()),
    }
}

async fn applied(connection: &DatabaseConnection) -> Result<Vec<String>, DbErr> {
    let there = SchemaManager::new(connection).has_table(Migrator::migration_table_name().to_string()).await?;
    if !there {
        return Ok(Vec::new());
    }
    let models: Vec<seaql_migrations::Model> = Migrator::get_migration_models(connection).await?;
    Ok(models.into_iter().map(|model| model.version).collect())
}

fn names() -> Vec<String> {
    Migrator::migrations().iter().map(|migration| migration.name().to_owned()).collect()
}
