//! The first migration: all tables.
//!
//! Times are microseconds since 1970 in UTC, because the databases disagree on what a timestamp is and how fine. Names are
//! compared by their SHA-256 (`name_key`), because collations and index limits disagree as well. There are no foreign
//! keys: no row is ever removed that another one names, and the locks that MySQL takes for them would make deadlocks.

use sea_orm::{
    DbErr,
    sea_query::{ColumnDef, Index, IndexCreateStatement, TableCreateStatement},
};
use sea_orm_migration::{
    MigrationName, MigrationTrait, SchemaManager, async_trait,
    schema::{
        big_integer, big_integer_null, binary_len, binary_len_null, integer, pk_uuid, string_len, string_len_null,
        uuid, uuid_null,
    },
};

use super::add;

/// The longest host with its port, with room to spare; short enough for an index everywhere.
const HOST_CHARACTERS: u32 = 300;

/// The longest name of a project; short enough for an index everywhere.
const PROJECT_CHARACTERS: u32 = 255;

pub(super) struct First;

impl MigrationName for First {
    fn name(&self) -> &'static str {
        "m0001_catalog"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for First {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let tables = Tables { manager };
        tables.artifacts().await?;
        tables.artifact_blobs().await?;
        tables.declarations().await?;
        tables.misses().await?;
        tables.ignored_misses().await?;
        tables.audit().await
    }
}

struct Tables<'a> {
    manager: &'a SchemaManager<'a>,
}

impl Tables<'_> {
    async fn artifacts(&self) -> Result<(), DbErr> {
        let table = self
            .table("artifacts")
            .col(pk_uuid("id"))
            .col(binary_len("name_key", 32))
            .col(self.text("name"))
            .col(string_len("kind", 16))
            .col(string_len("host", HOST_CHARACTERS))
            .col(string_len("state", 16))
            .col(self.text("expected"))
            .col(binary_len_null("sha256", 32))
            .col(binary_len_null("sha512", 64))
            .col(binary_len_null("blake2b", 64))
            .col(binary_len_null("sha1", 20))
            .col(binary_len_null("md5", 16))
            .col(big_integer_null("size"))
            .col(self.text_null("content_type"))
            .col(self.text_null("content_disposition"))
            .col(self.text_null("content_encoding"))
            .col(self.text_null("last_modified"))
            .col(self.text_null("source"))
            .col(integer("attempts"))
            .col(integer("attempts_before"))
            .col(self.text_null("last_error"))
            .col(big_integer_null("due_at"))
            .col(uuid_null("lease_token"))
            .col(self.text_null("lease_worker"))
            .col(big_integer_null("progress_bytes"))
            .col(big_integer_null("progress_total"))
            .col(self.text_null("quarantine_reason"))
            .col(big_integer("declared_at"))
            .col(big_integer_null("fetched_at"))
            .col(big_integer("revision"))
            .take();
        let indexes = [
            unique(&["name_key"]),
            index(&["state", "id"]),
            index(&["host", "id"]),
            // With the host in it, passing over busy hosts needs no look at the rows.
            index(&["due_at", "host", "id"]),
            index(&["sha256", "id"]),
            index(&["sha512", "id"]),
            index(&["blake2b", "id"]),
            index(&["sha1", "id"]),
            index(&["md5", "id"]),
        ];
        self.create("artifacts", table, &indexes).await
    }

    async fn artifact_blobs(&self) -> Result<(), DbErr> {
        let table = self
            .table("artifact_blobs")
            .col(uuid("artifact"))
            .col(integer("position"))
            .col(string_len("role", 32))
            .col(binary_len("blob", 32))
            .col(big_integer("size"))
            .col(self.text_null("media_type"))
            .primary_key(Index::create().col("artifact").col("position"))
            .take();
        self.create("artifact_blobs", table, &[index(&["blob"])]).await
    }

    async fn declarations(&self) -> Result<(), DbErr> {
        let table = self
            .table("declarations")
            .col(pk_uuid("id"))
            .col(uuid("artifact"))
            .col(self.text("who"))
            .col(self.text("reason"))
            .col(string_len_null("project", PROJECT_CHARACTERS))
            .col(self.text_null("license"))
            .col(self.text_null("ticket"))
            .col(big_integer("at"))
            .take();
        self.create("declarations", table, &[index(&["artifact", "at", "id"]), index(&["project", "artifact"])]).await
    }

    async fn misses(&self) -> Result<(), DbErr> {
        let table = self
            .table("misses")
            .col(pk_uuid("id"))
            .col(binary_len("name_key", 32))
            .col(self.text("name"))
            .col(string_len("kind", 16))
            .col(big_integer("count"))
            .col(big_integer("first_seen"))
            .col(big_integer("last_seen"))
            .col(self.text("method"))
            .col(self.text("client"))
            .col(self.text_null("user_agent"))
            .col(self.text_null("project"))
            .take();
        self.create("misses", table, &[unique(&["name_key"]), index(&["last_seen", "id"])]).await
    }

    async fn ignored_misses(&self) -> Result<(), DbErr> {
        let table = self
            .table("ignored_misses")
            .col(pk_uuid("id"))
            .col(binary_len("pattern_key", 32))
            .col(self.text("pattern"))
            .col(self.text("reason"))
            .col(self.text("who"))
            .col(big_integer("at"))
            .take();
        self.create("ignored_misses", table, &[unique(&["pattern_key"])]).await
    }

    async fn audit(&self) -> Result<(), DbErr> {
        let table = self
            .table("audit")
            .col(pk_uuid("id"))
            .col(big_integer("at"))
            .col(self.text("who"))
            .col(string_len("action", 32))
            .col(uuid_null("artifact"))
            .col(self.text("detail"))
            .take();
        self.create("audit", table, &[index(&["at", "id"]), index(&["artifact", "at", "id"])]).await
    }

    fn table(&self, name: &'static str) -> TableCreateStatement {
        add::table(self.manager, name)
    }

    fn text(&self, name: &'static str) -> ColumnDef {
        add::text(self.manager, name)
    }

    fn text_null(&self, name: &'static str) -> ColumnDef {
        add::text_null(self.manager, name)
    }

    /// Creates what is not there yet. MySQL has no `CREATE INDEX IF NOT EXISTS`, and takes indexes as part of the table;
    /// the others do not.
    async fn create(
        &self,
        name: &'static str,
        mut table: TableCreateStatement,
        indexes: &[IndexedColumns],
    ) -> Result<(), DbErr> {
        if add::is_mysql(self.manager) {
            for index in indexes {
                table.index(&mut index.statement(name));
            }
            return self.manager.create_table(table).await;
        }
        self.manager.create_table(table).await?;
        for index in indexes {
            self.manager.create_index(index.statement(name).table(name).if_not_exists().take()).await?;
        }
        Ok(())
    }
}

/// What an index is over.
struct IndexedColumns {
    columns: &'static [&'static str],
    unique: bool,
}

fn index(columns: &'static [&'static str]) -> IndexedColumns {
    IndexedColumns { columns, unique: false }
}

fn unique(columns: &'static [&'static str]) -> IndexedColumns {
    IndexedColumns { columns, unique: true }
}

impl IndexedColumns {
    /// PostgreSQL wants names of indexes that no other table uses.
    fn statement(&self, table: &str) -> IndexCreateStatement {
        let mut index = Index::create();
        index.name(format!("{table}_by_{}", self.columns.join("_")));
        for column in self.columns {
            index.col(*column);
        }
        if self.unique {
            index.unique();
        }
        index
    }
}
