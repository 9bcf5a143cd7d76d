//! [`Artifacts`] in SQL.

use std::collections::{BTreeSet, HashMap};

use async_trait::async_trait;
use distmirror_core::{
    Artifact, ArtifactId, Artifacts, Cursor, Declaration, Declared, Digest, Error, Fetched, Filter, NameKey,
    NewDeclaration, Page, PageRequest, Result, State, StoredBlob, Totals, catalog::rules, page,
};
use jiff::Timestamp;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, Insert, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect,
    Select, Set,
    sea_query::{Expr, ExprTrait, OnConflict, Query},
};
use uuid::Uuid;

use crate::catalog::{
    SqlCatalog,
    attempt::{Attempt, Trouble, commit},
    fetches::receive,
    rows::{
        artifact::{self, digest_column},
        artifact_blob, audit, contains, count, declaration, miss, parsed, text,
    },
};

/// About how many artifacts one statement asks: the largest page of a list, and far below the number of parameters that every
/// database takes.
pub(super) const ASKED_AT_ONCE: usize = page::MAX_LIMIT;

#[async_trait]
impl Artifacts for SqlCatalog {
    async fn declare(&self, wanted: &NewDeclaration, now: Timestamp) -> Result<Declared> {
        self.write(|| self.try_declare(wanted, now)).await
    }

    async fn artifact(&self, id: ArtifactId) -> Result<Option<Artifact>> {
        found(self.row(artifact::Entity::find_by_id(id.0)).await?)
    }

    async fn named(&self, key: &NameKey) -> Result<Option<Artifact>> {
        found(self.row(by_name(key)).await?)
    }

    async fn holding(&self, digest: &Digest) -> Result<Option<Artifact>> {
        found(self.row(holders(digest)).await?)
    }

    async fn list(&self, filter: &Filter, page: &PageRequest) -> Result<Page<Artifact>> {
        let mut wanted = filtered(filter).order_by_desc(artifact::Column::Id).limit(page.limit as u64 + 1);
        if let Some(after) = page.after {
            wanted = wanted.filter(artifact::Column::Id.lt(after.id));
        }
        let items = self.rows(wanted).await?.iter().map(artifact::Model::artifact).collect::<Attempt<_>>()?;
        Ok(Page::cut(items, page.limit, |artifact: &Artifact| Cursor { key: 0, id: artifact.id.0 }))
    }

    async fn declarations(&self, ids: &[ArtifactId]) -> Result<HashMap<ArtifactId, Vec<Declaration>>> {
        let mut found: HashMap<_, Vec<_>> = HashMap::new();
        for batch in each_once(ids).chunks(ASKED_AT_ONCE) {
            let all = declaration::Entity::find()
                .filter(declaration::Column::Artifact.is_in(batch.iter().copied()))
                .order_by_asc(declaration::Column::At)
                .order_by_asc(declaration::Column::Id);
            for row in self.rows(all).await? {
                found.entry(ArtifactId(row.artifact)).or_default().push(row.declaration()?);
            }
        }
        Ok(found)
    }

    async fn blobs(&self, ids: &[ArtifactId]) -> Result<HashMap<ArtifactId, Vec<StoredBlob>>> {
        let mut found: HashMap<_, Vec<_>> = HashMap::new();
        for batch in each_once(ids).chunks(ASKED_AT_ONCE) {
            let all = artifact_blob::Entity::find()
                .filter(artifact_blob::Column::Artifact.is_in(batch.iter().copied()))
                .order_by_asc(artifact_blob::Column::Artifact)
                .order_by_asc(artifact_blob::Column::Position);
            for row in self.rows(all).await? {
                found.entry(ArtifactId(row.artifact)).or_default().push(row.stored()?);
            }
        }
        Ok(found)
    }

    async fn totals(&self) -> Result<Totals> {
        if let Some(totals) = self.totals.last() {
            return Ok(totals);
        }
        let moment = self.totals.moment();
        let totals = self.read(|| self.counted()).await?;
        self.totals.keep(totals, moment);
        Ok(totals)
    }

    async fn fulfil(&self, id: ArtifactId, fetched: &Fetched, who: &str, now: Timestamp) -> Result<Artifact> {
        self.write(|| self.try_fulfil(id, fetched, who, now)).await
    }

    async fn quarantine(&self, id: ArtifactId, reason: &str, who: &str, now: Timestamp) -> Result<Artifact> {
        let columns = artifact::ActiveModel {
            quarantine_reason: Set(Some(text(reason))),
            ..artifact::ActiveModel::waiting(State::Quarantined, None)
        };
        let entry = audit::ActiveModel::new(now, who, "quarantined", Some(id), reason);
        self.write(|| self.decide(id, rules::check_quarantine, |_, _| columns.clone(), &entry)).await
    }

    async fn release(&self, id: ArtifactId, reason: &str, who: &str, now: Timestamp) -> Result<Artifact> {
        let columns = |row: &artifact::Model, before: &Artifact| {
            let released = Artifact { state: State::Present, ..before.clone() };
            let columns = if released.lacks_something() {
                artifact::ActiveModel::due_again(row, &released, now)
            } else {
                artifact::ActiveModel::waiting(State::Present, None)
            };
            artifact::ActiveModel { quarantine_reason: Set(None), ..columns }
        };
        let entry = audit::ActiveModel::new(now, who, "released", Some(id), reason);
        self.write(|| self.decide(id, rules::check_release, columns, &entry)).await
    }
}

impl SqlCatalog {
    async fn try_declare(&self, wanted: &NewDeclaration, now: Timestamp) -> Attempt<Declared> {
        let transaction = self.begin().await?;
        let own_id = ArtifactId::new();
        let row = find_or_add(own_id, wanted, now, &transaction).await?;
        let artifact = add_what_is_new(row, wanted, now, &transaction).await?;
        insert(declaration::ActiveModel::new(artifact.id, wanted, now), &transaction).await?;
        let entry = audit::ActiveModel::new(now, &wanted.who, "declared", Some(artifact.id), &wanted.reason);
        insert(entry, &transaction).await?;
        let key = wanted.name.key().as_bytes().to_vec();
        miss::Entity::delete_many().filter(miss::Column::NameKey.eq(key)).exec(&transaction).await?;
        commit(transaction).await?;
        Ok(Declared { is_new: artifact.id == own_id, artifact })
    }

    async fn try_fulfil(&self, id: ArtifactId, fetched: &Fetched, who: &str, now: Timestamp) -> Attempt<Artifact> {
        let transaction = self.begin().await?;
        let row = row_of(id, &transaction).await?;
        rules::check_fulfil(&row.artifact()?)?;
        let artifact = receive(&row, fetched, now, &transaction).await?;
        let entry = audit::ActiveModel::new(now, who, "supplied", Some(id), &rules::supplied_detail(fetched));
        insert(entry, &transaction).await?;
        commit(transaction).await?;
        Ok(artifact)
    }

    /// Changes an artifact because a person said so, and writes it down.
    pub(super) async fn decide(
        &self,
        id: ArtifactId,
        check: impl Fn(&Artifact) -> Result<()>,
        columns: impl Fn(&artifact::Model, &Artifact) -> artifact::ActiveModel,
        entry: &audit::ActiveModel,
    ) -> Attempt<Artifact> {
        let transaction = self.begin().await?;
        let row = row_of(id, &transaction).await?;
        let before = row.artifact()?;
        check(&before)?;
        let changed = change(&row, columns(&row, &before), &transaction).await?.artifact()?;
        insert(entry.clone(), &transaction).await?;
        commit(transaction).await?;
        Ok(changed)
    }

    async fn counted(&self) -> Attempt<Totals> {
        let by_state: Vec<(String, i64)> = artifact::Entity::find()
            .select_only()
            .column(artifact::Column::State)
            .column_as(artifact::Column::Id.count(), "count")
            .group_by(artifact::Column::State)
            .into_tuple()
            .all(&self.connection)
            .await?;
        let mut totals = Totals { misses: miss::Entity::find().count(&self.connection).await?, ..Totals::default() };
        for (state, number) in by_state {
            *totals.in_state_mut(parsed(&state)?) = count(number)?;
        }
        Ok(totals)
    }
}

/// Each id once: in two batches it would bring everything twice.
pub(super) fn each_once(ids: &[ArtifactId]) -> Vec<Uuid> {
    ids.iter().map(|id| id.0).collect::<BTreeSet<_>>().into_iter().collect()
}

/// The row of what is wanted: the one that is there, or that somebody else is adding at this moment, or a new one.
async fn find_or_add(
    own_id: ArtifactId,
    wanted: &NewDeclaration,
    now: Timestamp,
    connection: &impl ConnectionTrait,
) -> Attempt<artifact::Model> {
    let key = wanted.name.key();
    if let Some(row) = by_name(&key).one(connection).await? {
        return Ok(row);
    }
    let row = artifact::ActiveModel::new(own_id, wanted, now);
    insert_unless_there(row, artifact::Column::NameKey, artifact::Column::Id, connection).await?;
    by_name(&key).one(connection).await?.ok_or(Trouble::Outrun)
}

/// Adds the checksums and platforms that are not on record yet. Who changes the row meanwhile may have added others, which
/// then count.
async fn add_what_is_new(
    row: artifact::Model,
    wanted: &NewDeclaration,
    now: Timestamp,
    connection: &impl ConnectionTrait,
) -> Attempt<Artifact> {
    let before = row.artifact()?;
    let expected = rules::checksums_after(&before, wanted)?;
    let selection = rules::selection_after(&before, wanted);
    let is_due = rules::is_due_after_declaring(&before, selection.as_ref());
    if expected == before.expected && selection == before.selection && !is_due {
        return Ok(before);
    }
    let columns = match is_due {
        true => artifact::ActiveModel::due_again(&row, &before, now),
        false => artifact::ActiveModel::default(),
    };
    let columns = artifact::ActiveModel { expected: Set(expected.to_string()), ..columns };
    change(&row, columns.selecting(selection.as_ref()), connection).await?.artifact()
}

/// The row with this id.
pub(super) async fn row_of(id: ArtifactId, connection: &impl ConnectionTrait) -> Attempt<artifact::Model> {
    let row = artifact::Entity::find_by_id(id.0).one(connection).await?;
    row.ok_or_else(|| Error::NotFound { what: "artifact", id: id.to_string() }.into())
}

/// The one row with this name.
pub(super) fn by_name(key: &NameKey) -> Select<artifact::Entity> {
    artifact::Entity::find().filter(artifact::Column::NameKey.eq(key.as_bytes().to_vec()))
}

/// The rows that have this digest, which only those have that are present or quarantined. Not asked for by their states as
/// well: SQLite would go through all that are present, instead of finding the few by the index of the digest.
fn holders(digest: &Digest) -> Select<artifact::Entity> {
    artifact::Entity::find()
        .filter(digest_column(digest.algorithm()).eq(digest.as_bytes().to_vec()))
        // By their names, present comes before quarantined.
        .order_by_asc(artifact::Column::State)
        .order_by_asc(artifact::Column::Id)
}

/// Writes these columns, unless somebody changed the row since it was read; returns the row as it is then, which need not be
/// read again.
pub(super) async fn change(
    read: &artifact::Model,
    columns: artifact::ActiveModel,
    connection: &impl ConnectionTrait,
) -> Attempt<artifact::Model> {
    let columns = artifact::ActiveModel { revision: Set(read.revision + 1), ..columns };
    let changed = read.with(&columns)?;
    let result = artifact::Entity::update_many()
        .set(columns)
        .filter(artifact::Column::Id.eq(read.id))
        .filter(artifact::Column::Revision.eq(read.revision))
        .exec(connection)
        .await?;
    if result.rows_affected == 1 { Ok(changed) } else { Err(Trouble::Outrun) }
}

/// Adds a row.
pub(super) async fn insert<A>(row: A, connection: &impl ConnectionTrait) -> Result<(), DbErr>
where
    A: sea_orm::ActiveModelTrait,
{
    Insert::one(row).exec_without_returning(connection).await.map(drop)
}

/// Adds a row unless there is one with the same value in the unique column.
pub(super) async fn insert_unless_there<A, C>(
    row: A,
    unique: C,
    id: C,
    connection: &impl ConnectionTrait,
) -> Result<(), DbErr>
where
    A: sea_orm::ActiveModelTrait,
    C: ColumnTrait,
{
    let conflict = OnConflict::column(unique).do_nothing_on([id]).to_owned();
    match Insert::one(row).on_conflict(conflict).exec_without_returning(connection).await {
        Err(DbErr::RecordNotInserted) => Ok(()),
        result => result.map(drop),
    }
}

fn found(row: Option<artifact::Model>) -> Result<Option<Artifact>> {
    Ok(row.map(|row| row.artifact()).transpose()?)
}

fn filtered(filter: &Filter) -> Select<artifact::Entity> {
    let mut wanted = artifact::Entity::find();
    if let Some(kind) = filter.kind {
        wanted = wanted.filter(artifact::Column::Kind.eq(kind.as_str()));
    }
    if let Some(state) = filter.state {
        wanted = wanted.filter(artifact::Column::State.eq(state.as_str()));
    }
    if let Some(host) = &filter.host {
        wanted = wanted.filter(artifact::Column::Host.eq(text(host)));
    }
    if let Some(status) = filter.watch {
        wanted = wanted.filter(artifact::Column::WatchStatus.eq(status.as_str()));
    }
    if let Some(repository) = &filter.repository {
        wanted = wanted.filter(artifact::Column::Repository.eq(text(repository)));
    }
    if let Some(project) = &filter.project {
        let declared = Query::select()
            .column(declaration::Column::Artifact)
            .from(declaration::Entity)
            .and_where(Expr::col(declaration::Column::Project).eq(text(project)))
            .take();
        wanted = wanted.filter(artifact::Column::Id.in_subquery(declared));
    }
    if let Some(searched) = &filter.text {
        wanted = wanted.filter(contains(artifact::Column::Name, searched));
    }
    wanted
}

#[cfg(test)]
mod tests {
    use distmirror_core::{Algorithm, Digests};
    use sea_orm::{DbBackend, QueryTrait, Statement};
    use tempfile::TempDir;

    use super::*;
    use crate::catalog::CatalogOptions;

    async fn sqlite() -> (TempDir, SqlCatalog) {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("catalog.db").display());
        let options = CatalogOptions { url, max_connections: 2, migrate: true };
        let catalog = SqlCatalog::open(&options).await.unwrap();
        (folder, catalog)
    }

    #[tokio::test]
    async fn sqlite_prepares_each_statement_once() {
        let (_folder, catalog) = sqlite().await;
        let options = "SELECT compile_options FROM pragma_compile_options WHERE compile_options = 'ENABLE_QPSG'";
        let found = catalog.connection.query_all_raw(Statement::from_string(DbBackend::Sqlite, options)).await.unwrap();
        assert_eq!(found.len(), 1, "it is built with the flags of `.cargo/config.toml`");
    }

    #[tokio::test]
    async fn sqlite_finds_holders_by_the_index_of_their_digest() {
        let (_folder, catalog) = sqlite().await;
        for algorithm in Algorithm::ALL {
            let digest = Digests::of(b"abc").get(algorithm);
            let mut query = holders(&digest).limit(1).build(DbBackend::Sqlite);
            query.sql.insert_str(0, "EXPLAIN QUERY PLAN ");
            let plan = catalog.connection.query_all_raw(query).await.unwrap();
            let steps: Vec<String> = plan.iter().map(|step| step.try_get("", "detail").unwrap()).collect();
            assert!(steps[0].contains(&format!("artifacts_by_{algorithm}_id")), "{steps:?}");
        }
    }
}
