//! The second migration: what images need besides. It only adds columns that may be empty, and their indexes.

use sea_orm::{
    DbBackend, DbErr,
    sea_query::{ColumnDef, Index, Table},
};
use sea_orm_migration::{
    MigrationName, MigrationTrait, SchemaManager, async_trait,
    schema::{binary_len_null, string_len_null},
};

/// The longest path of a repository; short enough for an index everywhere.
const REPOSITORY_CHARACTERS: u32 = 255;

pub(super) struct Images;

impl MigrationName for Images {
    fn name(&self) -> &'static str {
        "m0002_images"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Images {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in [
            string_len_null("repository", REPOSITORY_CHARACTERS),
            text_null(manager, "platforms_wanted"),
            text_null(manager, "platforms_held"),
            string_len_null("upstream_scheme", 8),
        ] {
            add(manager, "artifacts", column).await?;
        }
        for column in [
            text_null(manager, "digest"),
            text_null(manager, "platform"),
            text_null(manager, "subject"),
            binary_len_null("part_key", 32),
            binary_len_null("subject_key", 32),
        ] {
            add(manager, "artifact_blobs", column).await?;
        }
        add(manager, "declarations", text_null(manager, "tag")).await?;
        index(manager, "artifacts", &["repository", "host", "id"]).await?;
        index(manager, "artifact_blobs", &["part_key"]).await?;
        index(manager, "artifact_blobs", &["subject_key"]).await
    }
}

/// Adds a column unless it is there. SQLite takes one column a statement.
async fn add(manager: &SchemaManager<'_>, table: &'static str, mut column: ColumnDef) -> Result<(), DbErr> {
    if manager.has_column(table, column.get_column_name()).await? {
        return Ok(());
    }
    manager.alter_table(Table::alter().table(table).add_column(&mut column).take()).await
}

/// Adds an index unless it is there.
async fn index(manager: &SchemaManager<'_>, table: &'static str, columns: &[&'static str]) -> Result<(), DbErr> {
    let name = format!("{table}_by_{}", columns.join("_"));
    if manager.has_index(table, &name).await? {
        return Ok(());
    }
    let mut index = Index::create();
    index.name(name).table(table);
    for column in columns {
        index.col(*column);
    }
    manager.create_index(index).await
}

/// Text of any length that occurs; see the first migration.
fn text_null(manager: &SchemaManager<'_>, name: &'static str) -> ColumnDef {
    let mut column = ColumnDef::new(name);
    let is_mysql = manager.get_database_backend() == DbBackend::MySql;
    if is_mysql { column.custom("MEDIUMTEXT").take() } else { column.text().take() }
}
