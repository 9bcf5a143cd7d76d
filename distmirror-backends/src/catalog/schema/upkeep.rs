//! The third migration: what upkeep needs besides. It only adds columns that may be empty, their indexes, and one table.

use sea_orm::DbErr;
use sea_orm_migration::{
    MigrationName, MigrationTrait, SchemaManager, async_trait,
    schema::{big_integer, big_integer_null, boolean, pk_uuid, string_len_null},
};

use super::add::{add_column, add_index, table, text, text_null};

pub(super) struct Upkeep;

impl MigrationName for Upkeep {
    fn name(&self) -> &'static str {
        "m0003_upkeep"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Upkeep {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in [
            text_null(manager, "platforms_lacking"),
            text_null(manager, "damage"),
            big_integer_null("watched_at"),
            string_len_null("watch_status", 16),
            text_null(manager, "watch_detail"),
        ] {
            add_column(manager, "artifacts", column).await?;
        }
        add_index(manager, "artifacts", &["watch_status", "id"]).await?;
        add_index(manager, "artifacts", &["watched_at", "id"]).await?;
        let scrubs = table(manager, "scrubs")
            .col(pk_uuid("id"))
            .col(text(manager, "who"))
            .col(boolean("repair"))
            .col(big_integer("checked"))
            .col(big_integer("bytes"))
            .col(text(manager, "damaged"))
            .col(big_integer("unreferenced"))
            .col(big_integer("started_at"))
            .col(big_integer("updated_at"))
            .col(big_integer_null("finished_at"))
            .take();
        manager.create_table(scrubs).await
    }
}
