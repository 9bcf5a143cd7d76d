//! The fourth migration: who used what. It only adds tables.

use sea_orm::DbErr;
use sea_orm_migration::{
    MigrationName, MigrationTrait, SchemaManager, async_trait,
    schema::{big_integer, pk_uuid, string_len_null, uuid},
};

use super::add::{add_index, table, text_null};

/// The longest IP address as text.
const ADDRESS_CHARACTERS: u32 = 45;

pub(super) struct Usage;

impl MigrationName for Usage {
    fn name(&self) -> &'static str {
        "m0004_usage"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Usage {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let daily = table(manager, "daily_usage")
            .col(pk_uuid("id"))
            .col(uuid("artifact"))
            .col(big_integer("day"))
            .col(text_null(manager, "project"))
            .col(string_len_null("client", ADDRESS_CHARACTERS))
            .col(big_integer("requests"))
            .col(big_integer("bytes"))
            .col(big_integer("first_used_at"))
            .col(big_integer("last_used_at"))
            .take();
        manager.create_table(daily).await?;
        add_index(manager, "daily_usage", &["artifact", "day", "id"]).await?;
        let total = table(manager, "total_usage")
            .col(pk_uuid("artifact"))
            .col(big_integer("requests"))
            .col(big_integer("bytes"))
            .col(big_integer("first_used_at"))
            .col(big_integer("last_used_at"))
            .take();
        manager.create_table(total).await?;
        manager.create_table(table(manager, "usage_batches").col(pk_uuid("id")).take()).await
    }
}
