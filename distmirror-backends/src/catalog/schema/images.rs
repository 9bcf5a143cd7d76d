//! The second migration: what images need besides. It only adds columns that may be empty, and their indexes.

use sea_orm::DbErr;
use sea_orm_migration::{
    MigrationName, MigrationTrait, SchemaManager, async_trait,
    schema::{binary_len_null, string_len_null},
};

use super::add::{add_column, add_index, text_null};

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
            add_column(manager, "artifacts", column).await?;
        }
        for column in [
            text_null(manager, "digest"),
            text_null(manager, "platform"),
            text_null(manager, "subject"),
            binary_len_null("part_key", 32),
            binary_len_null("subject_key", 32),
        ] {
            add_column(manager, "artifact_blobs", column).await?;
        }
        add_column(manager, "declarations", text_null(manager, "tag")).await?;
        add_index(manager, "artifacts", &["repository", "host", "id"]).await?;
        add_index(manager, "artifact_blobs", &["part_key"]).await?;
        add_index(manager, "artifact_blobs", &["subject_key"]).await
    }
}
