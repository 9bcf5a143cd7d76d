//! [`Images`] in SQL.

use std::collections::BTreeMap;

use async_trait::async_trait;
use distmirror_core::{
    Artifact, Images, Kind, NameKey, Registry, Repository, RepositoryTotals, Result, Role, State, StoredBlob,
};
use sea_orm::{ColumnTrait, EntityTrait, JoinType, QueryFilter, QueryOrder, QuerySelect, RelationTrait, Select};

use crate::catalog::{
    SqlCatalog,
    attempt::Attempt,
    rows::{artifact, artifact_blob, count, malformed, text},
};

#[async_trait]
impl Images for SqlCatalog {
    async fn part(&self, key: &NameKey) -> Result<Option<(Artifact, StoredBlob)>> {
        self.read(|| self.first_part(key)).await
    }

    async fn referrers(&self, subject: &NameKey) -> Result<Vec<StoredBlob>> {
        let wanted = with_artifacts()
            .filter(artifact_blob::Column::SubjectKey.eq(subject.as_bytes().to_vec()))
            .filter(artifact::Column::State.eq(State::Present.as_str()));
        let rows = self.rows(wanted).await?;
        let mut found = rows.iter().map(artifact_blob::Model::stored).collect::<Attempt<Vec<_>>>()?;
        found.sort_by_key(|blob| blob.digest);
        found.dedup_by_key(|blob| blob.digest);
        Ok(found)
    }

    async fn has_images(&self, registry: &Registry, path: Option<&str>) -> Result<bool> {
        let mut wanted = images().filter(artifact::Column::Host.eq(registry.as_str()));
        if let Some(path) = path {
            wanted = wanted.filter(artifact::Column::Repository.eq(text(path)));
        }
        Ok(self.row(wanted).await?.is_some())
    }

    async fn repositories(&self, registry: Option<&Registry>) -> Result<Vec<RepositoryTotals>> {
        self.read(|| self.count_by_repository(registry)).await
    }
}

impl SqlCatalog {
    /// A part with this key that is here, or else one that is only listed.
    async fn first_part(&self, key: &NameKey) -> Attempt<Option<(Artifact, StoredBlob)>> {
        let wanted = with_artifacts()
            .select_also(artifact::Entity)
            .filter(artifact_blob::Column::PartKey.eq(key.as_bytes().to_vec()))
            // False comes before true.
            .order_by_asc(artifact_blob::Column::Role.eq(Role::Unfetched.as_str()))
            // By their names, present comes before quarantined.
            .order_by_asc(artifact::Column::State);
        let Some((blob, Some(artifact))) = wanted.one(&self.connection).await? else { return Ok(None) };
        Ok(Some((artifact.artifact()?, blob.stored()?)))
    }

    async fn count_by_repository(&self, registry: Option<&Registry>) -> Attempt<Vec<RepositoryTotals>> {
        let mut wanted = images();
        if let Some(registry) = registry {
            wanted = wanted.filter(artifact::Column::Host.eq(registry.as_str()));
        }
        let rows: Vec<(String, String, String, i64)> = wanted
            .select_only()
            .column(artifact::Column::Host)
            .column(artifact::Column::Repository)
            .column(artifact::Column::State)
            .column_as(artifact::Column::Id.count(), "count")
            .group_by(artifact::Column::Host)
            .group_by(artifact::Column::Repository)
            .group_by(artifact::Column::State)
            .into_tuple()
            .all(&self.connection)
            .await?;
        // In the order of the domain: databases disagree on the order of texts.
        let mut found: BTreeMap<Repository, (u64, u64)> = BTreeMap::new();
        for (host, path, state, number) in rows {
            let registry = Registry::parse(&host).map_err(malformed)?;
            let (declared, present) = found.entry(Repository::new(registry, &path).map_err(malformed)?).or_default();
            let number = count(number)?;
            *declared += number;
            *present += if state == State::Present.as_str() { number } else { 0 };
        }
        let totals = |(repository, (declared, present))| RepositoryTotals { repository, declared, present };
        Ok(found.into_iter().map(totals).collect())
    }
}

fn images() -> Select<artifact::Entity> {
    artifact::Entity::find()
        .filter(artifact::Column::Kind.eq(Kind::Image.as_str()))
        .filter(artifact::Column::Repository.is_not_null())
}

/// Parts joined with the artifacts that they belong to.
fn with_artifacts() -> Select<artifact_blob::Entity> {
    artifact_blob::Entity::find().join(JoinType::InnerJoin, artifact_blob::Relation::Artifact.def())
}
