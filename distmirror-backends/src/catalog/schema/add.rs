//! What migrations that add to a schema have in common: each step first asks whether its work is done.

use sea_orm::{
    DbBackend, DbErr,
    sea_query::{ColumnDef, Index, Table, TableCreateStatement},
};
use sea_orm_migration::SchemaManager;

/// Adds a column unless it is there. SQLite takes one column a statement.
pub(super) async fn add_column(
    manager: &SchemaManager<'_>,
    table: &'static str,
    mut column: ColumnDef,
) -> Result<(), DbErr> {
    if manager.has_column(table, column.get_column_name()).await? {
        return Ok(());
    }
    manager.alter_table(Table::alter().table(table).add_column(&mut column).take()).await
}

/// Adds an index unless it is there.
pub(super) async fn add_index(
    manager: &SchemaManager<'_>,
    table: &'static str,
    columns: &[&'static str],
) -> Result<(), DbErr> {
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

/// A table that is made unless it is there.
pub(super) fn table(manager: &SchemaManager<'_>, name: &'static str) -> TableCreateStatement {
    let mut table = Table::create();
    table.table(name).if_not_exists();
    if is_mysql(manager) {
        // Whatever the server's defaults are: all of Unicode, and only equal characters are equal.
        table.engine("InnoDB").character_set("utf8mb4").collate("utf8mb4_bin");
    }
    table
}

/// Text of any length that occurs.
pub(super) fn text(manager: &SchemaManager<'_>, name: &'static str) -> ColumnDef {
    text_null(manager, name).not_null().take()
}

/// Text of any length that occurs, or none. MySQL's `TEXT` ends at 64 KiB, which a chain of redirects can reach.
pub(super) fn text_null(manager: &SchemaManager<'_>, name: &'static str) -> ColumnDef {
    let mut column = ColumnDef::new(name);
    if is_mysql(manager) { column.custom("MEDIUMTEXT").take() } else { column.text().take() }
}

pub(super) fn is_mysql(manager: &SchemaManager<'_>) -> bool {
    manager.get_database_backend() == DbBackend::MySql
}
