//! [`Fetches`] in SQL. A lease is a token on the row of the artifact; who changes the row first has it.

use async_trait::async_trait;
use distmirror_core::{
    Artifact, ArtifactId, Backlog, Error, Failure, Fetched, Fetches, Job, Lease, LeaseRequest, Progress, Result, Role,
    State, StoredBlob, catalog::rules,
};
use jiff::Timestamp;
use sea_orm::{
    ColumnTrait, DbBackend, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Set,
    sea_query::{Expr, ExprTrait},
};
use uuid::Uuid;

use crate::catalog::{
    SqlCatalog,
    artifacts::{change, insert},
    attempt::{Attempt, Trouble, commit},
    rows::{artifact, artifact_blob, audit, count, malformed, micros, number, text, time},
};

#[async_trait]
impl Fetches for SqlCatalog {
    async fn lease(&self, request: &LeaseRequest, now: Timestamp) -> Result<Vec<Job>> {
        /// After so many rounds in which others were faster there is work for all of them.
        const ROUNDS: usize = 5;
        /// How many rows more each round reads, for others to take of them.
        const SPARE: usize = 4;
        for round in 0..ROUNDS {
            let due = self.read(|| self.due(request, round * SPARE, now)).await?;
            if due.is_empty() {
                break;
            }
            let jobs = self.write(|| self.take_up(&due, request, now)).await?;
            if !jobs.is_empty() {
                return Ok(jobs);
            }
        }
        Ok(Vec::new())
    }

    async fn backlog(&self, now: Timestamp) -> Result<Backlog> {
        self.read(|| self.counted_due(now)).await
    }

    async fn renew(&self, lease: &Lease, expires_at: Timestamp, progress: Progress) -> Result<()> {
        self.write(|| self.try_renew(lease, expires_at, progress)).await
    }

    async fn complete(&self, lease: &Lease, fetched: &Fetched, now: Timestamp) -> Result<()> {
        match self.backend() {
            DbBackend::Sqlite => self.complete_in_turn(lease, fetched, now).await,
            _ => self.write(|| self.complete_alone(lease, fetched, now)).await,
        }
    }

    async fn fail(&self, lease: &Lease, failure: &Failure, retry_at: Option<Timestamp>, now: Timestamp) -> Result<()> {
        self.write(|| self.try_fail(lease, failure, retry_at, now)).await
    }

    async fn give_back(&self, lease: &Lease, now: Timestamp) -> Result<()> {
        self.write(|| self.try_give_back(lease, now)).await
    }

    async fn retry(&self, id: ArtifactId, who: &str, now: Timestamp) -> Result<Artifact> {
        let columns = |row: &artifact::Model, before: &Artifact| artifact::ActiveModel::due_again(row, before, now);
        let entry = audit::ActiveModel::new(now, who, "retried", Some(id), "");
        self.write(|| self.decide(id, rules::check_retry, columns, &entry)).await
    }
}

impl SqlCatalog {
    /// What is due, longest first: as much as was asked for, and `spare` more.
    async fn due(&self, request: &LeaseRequest, spare: usize, now: Timestamp) -> Attempt<Vec<artifact::Model>> {
        const MOST: usize = 1000;
        if request.limit == 0 {
            return Ok(Vec::new());
        }
        let mut due = artifact::Entity::find().filter(artifact::Column::DueAt.lte(micros(now)));
        if !request.busy_hosts.is_empty() {
            due = due.filter(artifact::Column::Host.is_not_in(request.busy_hosts.iter().map(|host| text(host))));
        }
        let ordered = due
            .order_by_asc(artifact::Column::DueAt)
            .order_by_asc(artifact::Column::Host)
            .order_by_asc(artifact::Column::Id);
        Ok(ordered.limit((request.limit.min(MOST) + spare) as u64).all(&self.writer).await?)
    }

    /// What is due, which the index of that column answers.
    async fn counted_due(&self, now: Timestamp) -> Attempt<Backlog> {
        let counted: Option<(i64, Option<i64>)> = artifact::Entity::find()
            .select_only()
            .column_as(artifact::Column::DueAt.count(), "due")
            .column_as(artifact::Column::DueAt.min(), "oldest")
            .filter(artifact::Column::DueAt.lte(micros(now)))
            .into_tuple()
            .one(&self.connection)
            .await?;
        let (due, oldest) = counted.unwrap_or_default();
        Ok(Backlog { due: count(due)?, oldest_due_at: oldest.map(time).transpose()? })
    }

    async fn take_up(&self, due: &[artifact::Model], request: &LeaseRequest, now: Timestamp) -> Attempt<Vec<Job>> {
        // One statement is a transaction by itself.
        if let [row] = due {
            return Ok(take(row, request, now, &self.writer).await?.into_iter().collect());
        }
        let transaction = self.begin().await?;
        let mut jobs = Vec::new();
        for row in due {
            if jobs.len() == request.limit {
                break;
            }
            jobs.extend(take(row, request, now, &transaction).await?);
        }
        commit(transaction).await?;
        Ok(jobs)
    }

    async fn try_renew(&self, lease: &Lease, expires_at: Timestamp, progress: Progress) -> Attempt<()> {
        let columns = artifact::ActiveModel {
            due_at: Set(Some(micros(expires_at))),
            progress_bytes: Set(Some(number(progress.bytes))),
            progress_total: Set(progress.total.map(number)),
            ..Default::default()
        };
        let renewed = artifact::Entity::update_many()
            .set(columns)
            .col_expr(artifact::Column::Revision, Expr::col(artifact::Column::Revision).add(1))
            .filter(artifact::Column::Id.eq(lease.artifact.0))
            .filter(artifact::Column::LeaseToken.eq(lease.token))
            .exec(&self.writer)
            .await?;
        if renewed.rows_affected == 1 { Ok(()) } else { Err(lost(lease)) }
    }

    async fn complete_alone(&self, lease: &Lease, fetched: &Fetched, now: Timestamp) -> Attempt<()> {
        let transaction = self.begin().await?;
        complete_one(lease, fetched, now, &transaction).await?;
        commit(transaction).await
    }

    async fn try_fail(
        &self,
        lease: &Lease,
        failure: &Failure,
        retry_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Attempt<()> {
        let transaction = self.begin().await?;
        let row = leased(lease, &transaction).await?;
        let before = row.artifact()?;
        let after = Artifact { selection: rules::selection_after_failing(&before, failure), ..before.clone() };
        let is_wanted = before.state != State::Present || after.lacks_something();
        let columns = artifact::ActiveModel {
            last_error: Set(Some(text(&failure.message))),
            ..artifact::ActiveModel::waiting(rules::state_after_failing(&before), retry_at.filter(|_| is_wanted))
        };
        let columns = columns.selecting(after.selection.as_ref());
        change(&row, columns, &transaction).await?;
        insert(
            audit::ActiveModel::new(now, worker(&row), "failed", Some(lease.artifact), &failure.message),
            &transaction,
        )
        .await?;
        commit(transaction).await
    }

    async fn try_give_back(&self, lease: &Lease, now: Timestamp) -> Attempt<()> {
        let transaction = self.begin().await?;
        let row = leased(lease, &transaction).await?;
        let state = rules::state_after_giving_back(&row.artifact()?);
        let columns = artifact::ActiveModel {
            attempts: Set(row.attempts - 1),
            ..artifact::ActiveModel::waiting(state, Some(now))
        };
        change(&row, columns, &transaction).await?;
        commit(transaction).await
    }
}

/// Leases a row, unless somebody else was faster.
async fn take(
    row: &artifact::Model,
    request: &LeaseRequest,
    now: Timestamp,
    connection: &impl sea_orm::ConnectionTrait,
) -> Attempt<Option<Job>> {
    let (token, expires_at) = (Uuid::new_v4(), now + request.lease_for);
    let columns = artifact::ActiveModel {
        lease_token: Set(Some(token)),
        lease_worker: Set(Some(text(&request.worker))),
        attempts: Set(row.attempts + 1),
        ..artifact::ActiveModel::waiting(rules::state_while_fetching(&row.artifact()?), Some(expires_at))
    };
    match change(row, columns, connection).await {
        Ok(taken) => job(&taken, token, expires_at).map(Some),
        Err(Trouble::Outrun) => Ok(None),
        Err(trouble) => Err(trouble),
    }
}

/// Ends one job.
pub(super) async fn complete_one(
    lease: &Lease,
    fetched: &Fetched,
    now: Timestamp,
    connection: &impl sea_orm::ConnectionTrait,
) -> Attempt<()> {
    let row = leased(lease, connection).await?;
    receive(&row, fetched, now, connection).await?;
    let detail = rules::fetched_detail(fetched);
    let entry = audit::ActiveModel::new(now, worker(&row), "fetched", Some(lease.artifact), &detail);
    Ok(insert(entry, connection).await?)
}

/// Makes an artifact present with what was brought, or adds that to what it has; the artifact as it is then.
pub(super) async fn receive(
    row: &artifact::Model,
    fetched: &Fetched,
    now: Timestamp,
    connection: &impl sea_orm::ConnectionTrait,
) -> Attempt<Artifact> {
    let before = row.artifact()?;
    rules::check_content(&before, &fetched.content)?;
    let selection = rules::selection_after_fetching(&before, fetched);
    let columns = match before.state {
        // Its content never changes again.
        State::Present => artifact::ActiveModel {
            last_error: Set(None),
            damage: Set(None),
            ..artifact::ActiveModel::waiting(State::Present, None)
        },
        _ => artifact::ActiveModel::present(&fetched.content, now)?,
    };
    let changed = change(row, columns.selecting(selection.as_ref()), connection).await?;
    add_blobs(&before, fetched, connection).await?;
    let after = changed.artifact()?;
    if !after.lacks_something() {
        return Ok(after);
    }
    change(&changed, artifact::ActiveModel::due_again(&changed, &after, now), connection).await?.artifact()
}

/// Adds the blobs that an artifact did not have yet, behind those that it has.
async fn add_blobs(artifact: &Artifact, fetched: &Fetched, connection: &impl sea_orm::ConnectionTrait) -> Attempt<()> {
    let (before, first) = match artifact.content {
        Some(_) => kept_blobs(artifact, connection).await?,
        // What was never here has none.
        None => (Vec::new(), 0),
    };
    let repository = artifact.name.repository();
    let new: Vec<_> = (first..)
        .zip(rules::new_blobs(&before, &fetched.blobs))
        .map(|(position, blob)| artifact_blob::ActiveModel::new(artifact.id, position, blob, repository))
        .collect();
    for batch in new.chunks(INSERTED_AT_ONCE) {
        artifact_blob::Entity::insert_many(batch.to_vec()).exec_without_returning(connection).await?;
    }
    Ok(())
}

/// The blobs that an artifact keeps, and the position behind them: what it does not have but knows of is told anew.
async fn kept_blobs(
    artifact: &Artifact,
    connection: &impl sea_orm::ConnectionTrait,
) -> Attempt<(Vec<StoredBlob>, i32)> {
    let of_this = artifact_blob::Column::Artifact.eq(artifact.id.0);
    let unfetched = artifact_blob::Column::Role.eq(Role::Unfetched.as_str());
    artifact_blob::Entity::delete_many().filter(of_this.clone()).filter(unfetched).exec(connection).await?;
    let rows = artifact_blob::Entity::find().filter(of_this).all(connection).await?;
    let kept = rows.iter().map(artifact_blob::Model::stored).collect::<Attempt<_>>()?;
    Ok((kept, rows.iter().map(|row| row.position + 1).max().unwrap_or_default()))
}

/// How many rows one statement inserts: each has a dozen parameters, of which SQLite takes 32,766 and others 65,535.
const INSERTED_AT_ONCE: usize = 500;

/// The row whose latest lease this is. A row has a token only while it is being fetched.
async fn leased(lease: &Lease, connection: &impl sea_orm::ConnectionTrait) -> Attempt<artifact::Model> {
    let row = artifact::Entity::find_by_id(lease.artifact.0).one(connection).await?;
    row.filter(|row| row.lease_token == Some(lease.token)).ok_or_else(|| lost(lease))
}

fn lost(lease: &Lease) -> Trouble {
    Trouble::Refused(Error::LeaseLost { artifact: lease.artifact })
}

fn worker(row: &artifact::Model) -> &str {
    row.lease_worker.as_deref().unwrap_or_default()
}

fn job(row: &artifact::Model, token: Uuid, expires_at: Timestamp) -> Attempt<Job> {
    let lease = Lease { artifact: ArtifactId(row.id), token, expires_at };
    let attempt = (row.attempts - row.attempts_before).try_into().map_err(malformed)?;
    Ok(Job { lease, artifact: row.artifact()?, attempt })
}
