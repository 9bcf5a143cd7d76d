//! The part of [`Ledger`](distmirror_core::Ledger) that deals with usage, in SQL.

use std::collections::{BTreeMap, HashMap};

use distmirror_core::{
    ArtifactId, Cursor, DailyUsage, Page, PageRequest, Result, Usage, UsageBatch, UsageReport, catalog::rules, usage,
};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, Insert, QueryFilter, QueryOrder, QuerySelect,
    Set, SqlErr, UpdateMany,
    sea_query::{Expr, ExprTrait, OnConflict},
};
use uuid::Uuid;

use crate::catalog::{
    SqlCatalog,
    artifacts::{ASKED_AT_ONCE, each_once, insert},
    attempt::{Attempt, commit},
    rows::{after, daily_usage, micros, number, total_usage, usage_batch},
};

/// How many rows one statement adds: far below the number of parameters that every database takes.
const ADDED_AT_ONCE: usize = 200;

impl SqlCatalog {
    pub(super) async fn put_usage(&self, batch: &UsageBatch) -> Result<()> {
        // Maps are in order: everyone locks the rows in the same one, so that no two wait for each other.
        let (mut daily, mut totals) = (BTreeMap::<_, UsageReport>::new(), BTreeMap::<_, Usage>::new());
        for report in &batch.reports {
            let id = rules::daily_usage_id(report.artifact, report.day, &report.by);
            let together = |usage: &mut Usage| *usage = usage.and(report.usage);
            daily.entry(id).and_modify(|known| together(&mut known.usage)).or_insert_with(|| report.clone());
            totals.entry(report.artifact).and_modify(together).or_insert(report.usage);
        }
        self.write_apart_from_totals(|| self.try_put_usage(batch.id, &daily, &totals)).await
    }

    pub(super) async fn total_usage(&self, ids: &[ArtifactId]) -> Result<HashMap<ArtifactId, Usage>> {
        let mut found = HashMap::new();
        for batch in each_once(ids).chunks(ASKED_AT_ONCE) {
            let all = total_usage::Entity::find().filter(total_usage::Column::Artifact.is_in(batch.iter().copied()));
            for row in self.rows(all).await? {
                found.insert(ArtifactId(row.artifact), row.usage()?);
            }
        }
        Ok(found)
    }

    pub(super) async fn usage_by_day(&self, id: ArtifactId, page: &PageRequest) -> Result<Page<DailyUsage>> {
        let mut wanted = daily_usage::Entity::find()
            .filter(daily_usage::Column::Artifact.eq(id.0))
            .order_by_desc(daily_usage::Column::Day)
            .order_by_desc(daily_usage::Column::Id)
            .limit(page.limit as u64 + 1);
        if let Some(cursor) = page.after {
            wanted = wanted.filter(after(daily_usage::Column::Day, daily_usage::Column::Id, cursor));
        }
        let rows = self.rows(wanted).await?;
        let items = rows.into_iter().map(daily_usage::Model::daily_usage).collect::<Attempt<_>>()?;
        Ok(Page::cut(items, page.limit, |daily: &DailyUsage| Cursor {
            key: micros(usage::start_of(daily.day)),
            id: daily.id,
        }))
    }

    async fn try_put_usage(
        &self,
        batch: Uuid,
        daily: &BTreeMap<Uuid, UsageReport>,
        totals: &BTreeMap<ArtifactId, Usage>,
    ) -> Attempt<()> {
        let transaction = self.begin().await?;
        match insert(usage_batch::ActiveModel { id: Set(batch) }, &transaction).await {
            // It was done, and only the answer was lost.
            Err(error) if matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))) => return Ok(()),
            inserted => inserted?,
        }
        let oldest = rules::oldest_batch_kept(batch);
        usage_batch::Entity::delete_many().filter(usage_batch::Column::Id.lt(oldest)).exec(&transaction).await?;
        let rows = daily.values().map(daily_usage::ActiveModel::new);
        insert_those_missing(rows, daily_usage::Column::Id, &transaction).await?;
        for (id, report) in daily {
            let own = daily_usage::Entity::update_many().filter(daily_usage::Column::Id.eq(*id));
            add(own, DAILY, &report.usage).exec(&transaction).await?;
        }
        let rows = totals.iter().map(|(id, usage)| total_usage::ActiveModel::new(*id, usage));
        insert_those_missing(rows, total_usage::Column::Artifact, &transaction).await?;
        for (id, usage) in totals {
            let own = total_usage::Entity::update_many().filter(total_usage::Column::Artifact.eq(id.0));
            add(own, TOTAL, usage).exec(&transaction).await?;
        }
        commit(transaction).await
    }
}

/// The columns of a sum: requests, bytes, first and last time.
type Sum<C> = [C; 4];

const DAILY: Sum<daily_usage::Column> = [
    daily_usage::Column::Requests,
    daily_usage::Column::Bytes,
    daily_usage::Column::FirstUsedAt,
    daily_usage::Column::LastUsedAt,
];

const TOTAL: Sum<total_usage::Column> = [
    total_usage::Column::Requests,
    total_usage::Column::Bytes,
    total_usage::Column::FirstUsedAt,
    total_usage::Column::LastUsedAt,
];

/// Adds to these columns. In a plain statement after the one that inserts: databases disagree on how an `INSERT` that meets
/// an existing row computes with the old values.
fn add<E: EntityTrait>(row: UpdateMany<E>, sum: Sum<E::Column>, usage: &Usage) -> UpdateMany<E> {
    let [requests, bytes, first, last] = sum;
    let (first_used_at, last_used_at) = (micros(usage.first_used_at), micros(usage.last_used_at));
    let earlier = Expr::case(Expr::col(first).gt(first_used_at), first_used_at).finally(Expr::col(first));
    let later = Expr::case(Expr::col(last).lt(last_used_at), last_used_at).finally(Expr::col(last));
    row.col_expr(requests, Expr::col(requests).add(number(usage.requests)))
        .col_expr(bytes, Expr::col(bytes).add(number(usage.bytes)))
        .col_expr(first, earlier.into())
        .col_expr(last, later.into())
}

/// Adds those rows of which none has the same key yet.
async fn insert_those_missing<A: ActiveModelTrait>(
    rows: impl Iterator<Item = A>,
    key: <A::Entity as EntityTrait>::Column,
    connection: &impl ConnectionTrait,
) -> Result<(), DbErr> {
    let rows: Vec<A> = rows.collect();
    for rows in rows.chunks(ADDED_AT_ONCE) {
        let conflict = OnConflict::column(key).do_nothing_on([key]).to_owned();
        match Insert::many(rows.iter().cloned()).on_conflict(conflict).exec_without_returning(connection).await {
            Err(DbErr::RecordNotInserted) => {}
            inserted => drop(inserted?),
        }
    }
    Ok(())
}
