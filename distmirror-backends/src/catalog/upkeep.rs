//! [`Upkeep`] in SQL.

use std::collections::HashSet;

use async_trait::async_trait;
use distmirror_core::{Artifact, ArtifactId, Result, Scrub, Sha256, State, Upkeep, Watch};
use jiff::Timestamp;
use sea_orm::{
    ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Set,
    sea_query::{Expr, ExprTrait},
};
use uuid::Uuid;

use crate::catalog::{
    SqlCatalog,
    artifacts::{change, insert, row_of},
    attempt::{Attempt, commit},
    rows::{artifact, artifact_blob, audit, bytes, micros, scrub, text},
};

#[async_trait]
impl Upkeep for SqlCatalog {
    async fn report_damage(&self, id: ArtifactId, problem: &str, now: Timestamp) -> Result<()> {
        self.write(|| self.try_report_damage(id, problem, now)).await
    }

    async fn unreferenced(&self, blobs: &[Sha256]) -> Result<Vec<Sha256>> {
        if blobs.is_empty() {
            return Ok(Vec::new());
        }
        let wanted = artifact_blob::Entity::find()
            .filter(artifact_blob::Column::Blob.is_in(blobs.iter().map(|blob| blob.as_bytes().to_vec())));
        let known = self.rows(wanted).await?;
        let known = known.iter().map(|row| bytes(&row.blob)).collect::<Attempt<HashSet<[u8; 32]>>>()?;
        Ok(blobs.iter().filter(|blob| !known.contains(blob.as_bytes())).copied().collect())
    }

    async fn save_scrub(&self, scrub: &Scrub) -> Result<()> {
        self.write(|| self.try_save_scrub(scrub)).await
    }

    async fn scrub(&self, id: Uuid) -> Result<Option<Scrub>> {
        Ok(self.row(scrub::Entity::find_by_id(id)).await?.map(scrub::Model::scrub).transpose()?)
    }

    async fn scrubs(&self, limit: usize) -> Result<Vec<Scrub>> {
        let wanted = scrub::Entity::find().order_by_desc(scrub::Column::Id).limit(limit as u64);
        Ok(self.rows(wanted).await?.into_iter().map(scrub::Model::scrub).collect::<Attempt<_>>()?)
    }

    async fn to_watch(&self, before: Timestamp, limit: usize) -> Result<Vec<Artifact>> {
        let in_service = artifact::Entity::find()
            .filter(artifact::Column::State.eq(State::Present.as_str()))
            .filter(artifact::Column::FetchedAt.lt(micros(before)))
            .order_by_asc(artifact::Column::WatchedAt)
            .order_by_asc(artifact::Column::Id);
        // Asked one by one: databases disagree on where those stand that have no time.
        let never = in_service.clone().filter(artifact::Column::WatchedAt.is_null()).limit(limit as u64);
        let mut rows = self.rows(never).await?;
        if rows.len() < limit {
            let rest = in_service.filter(artifact::Column::WatchedAt.lt(micros(before)));
            rows.extend(self.rows(rest.limit((limit - rows.len()) as u64)).await?);
        }
        Ok(rows.iter().map(artifact::Model::artifact).collect::<Attempt<_>>()?)
    }

    async fn record_watch(&self, id: ArtifactId, watch: &Watch) -> Result<()> {
        self.write(|| self.try_record_watch(id, watch)).await
    }
}

impl SqlCatalog {
    async fn try_report_damage(&self, id: ArtifactId, problem: &str, now: Timestamp) -> Attempt<()> {
        let transaction = self.begin().await?;
        let row = row_of(id, &transaction).await?;
        let before = row.artifact()?;
        if before.state != State::Present || before.damage.is_some() {
            return Ok(());
        }
        let columns = artifact::ActiveModel {
            damage: Set(Some(text(problem))),
            ..artifact::ActiveModel::due_again(&row, &before, now)
        };
        change(&row, columns, &transaction).await?;
        insert(audit::ActiveModel::new(now, "scrub", "damaged", Some(id), problem), &transaction).await?;
        commit(transaction).await
    }

    async fn try_save_scrub(&self, scrub: &Scrub) -> Attempt<()> {
        let known = scrub::Entity::find_by_id(scrub.id).one(&self.writer).await?;
        let row = scrub::ActiveModel::new(scrub)?;
        match known {
            Some(_) => {
                let changed = scrub::Entity::update_many().set(row).filter(scrub::Column::Id.eq(scrub.id));
                changed.exec(&self.writer).await?;
            }
            None => insert(row, &self.writer).await?,
        }
        Ok(())
    }

    async fn try_record_watch(&self, id: ArtifactId, watch: &Watch) -> Attempt<()> {
        let columns = artifact::ActiveModel {
            watched_at: Set(Some(micros(watch.at))),
            watch_status: Set(Some(watch.status.as_str().to_owned())),
            watch_detail: Set(Some(text(&watch.detail))),
            ..Default::default()
        };
        artifact::Entity::update_many()
            .set(columns)
            .col_expr(artifact::Column::Revision, Expr::col(artifact::Column::Revision).add(1))
            .filter(artifact::Column::Id.eq(id.0))
            .exec(&self.writer)
            .await?;
        Ok(())
    }
}
