//! [`Ledger`] in SQL.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use distmirror_core::{
    ArtifactId, AuditEntry, Cursor, DailyUsage, Ledger, Miss, MissReport, Page, PageRequest, Result, Usage, UsageBatch,
    catalog::rules, miss::matches_pattern,
};
use jiff::Timestamp;
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect, Select,
    sea_query::{Expr, ExprTrait, Query},
};
use uuid::Uuid;

use crate::catalog::{
    SqlCatalog,
    artifacts::{insert, insert_unless_there},
    attempt::{Attempt, commit},
    rows::{after, artifact, audit, contains, ignored_miss, may_match, micros, miss, number},
};

/// How many misses are removed by one statement.
const FORGOTTEN_AT_ONCE: usize = 500;

/// How many reports go into one transaction: each takes four statements, and a database may be some milliseconds away.
const RECORDED_AT_ONCE: usize = 100;

#[async_trait]
impl Ledger for SqlCatalog {
    async fn record_misses(&self, reports: &[MissReport]) -> Result<()> {
        let mut reports: Vec<_> = reports.iter().collect();
        // Everyone locks the rows in the same order, so that no two wait for each other.
        reports.sort_by_key(|report| report.name.key());
        for batch in reports.chunks(RECORDED_AT_ONCE) {
            self.write(|| self.try_record(batch)).await?;
        }
        Ok(())
    }

    async fn misses(&self, text: Option<&str>, page: &PageRequest) -> Result<Page<Miss>> {
        let mut wanted = undeclared()
            .order_by_desc(miss::Column::LastSeen)
            .order_by_desc(miss::Column::Id)
            .limit(page.limit as u64 + 1);
        if let Some(text) = text {
            wanted = wanted.filter(contains(miss::Column::Name, text));
        }
        if let Some(cursor) = page.after {
            wanted = wanted.filter(after(miss::Column::LastSeen, miss::Column::Id, cursor));
        }
        let items = self.rows(wanted).await?.into_iter().map(miss::Model::miss).collect::<Attempt<_>>()?;
        Ok(Page::cut(items, page.limit, |miss: &Miss| Cursor { key: micros(miss.last_seen), id: miss.id }))
    }

    async fn miss_count(&self) -> Result<u64> {
        self.read(|| async { Ok(miss::Entity::find().count(&self.connection).await?) }).await
    }

    async fn miss(&self, id: Uuid) -> Result<Option<Miss>> {
        let wanted = undeclared().filter(miss::Column::Id.eq(id));
        Ok(self.row(wanted).await?.map(miss::Model::miss).transpose()?)
    }

    async fn ignore_misses(&self, pattern: &str, reason: &str, who: &str, now: Timestamp) -> Result<()> {
        self.write(|| self.try_ignore(pattern, reason, who, now)).await?;
        // From here on nothing is added that matches. What is there may be much, and others want to write as well.
        let mut last_id = Some(Uuid::nil());
        while let Some(id) = last_id {
            last_id = self.write(|| self.forget_some(pattern, id)).await?;
        }
        Ok(())
    }

    async fn ignored_patterns(&self) -> Result<Vec<String>> {
        self.read(async || patterns(&self.connection).await).await
    }

    async fn record_usage(&self, batch: &UsageBatch) -> Result<()> {
        self.put_usage(batch).await
    }

    async fn usage(&self, ids: &[ArtifactId]) -> Result<HashMap<ArtifactId, Usage>> {
        self.total_usage(ids).await
    }

    async fn daily_usage(&self, id: ArtifactId, page: &PageRequest) -> Result<Page<DailyUsage>> {
        self.usage_by_day(id, page).await
    }

    async fn audit(&self, artifact: Option<ArtifactId>, page: &PageRequest) -> Result<Page<AuditEntry>> {
        let mut wanted = audit::Entity::find()
            .order_by_desc(audit::Column::At)
            .order_by_desc(audit::Column::Id)
            .limit(page.limit as u64 + 1);
        if let Some(id) = artifact {
            wanted = wanted.filter(audit::Column::Artifact.eq(id.0));
        }
        if let Some(cursor) = page.after {
            wanted = wanted.filter(after(audit::Column::At, audit::Column::Id, cursor));
        }
        let items = self.rows(wanted).await?.into_iter().map(audit::Model::entry).collect::<Attempt<_>>()?;
        Ok(Page::cut(items, page.limit, |entry: &AuditEntry| Cursor { key: micros(entry.at), id: entry.id }))
    }
}

impl SqlCatalog {
    async fn try_record(&self, reports: &[&MissReport]) -> Attempt<()> {
        let transaction = self.begin().await?;
        let declared = declared(reports, &transaction).await?;
        let patterns = patterns(&transaction).await?;
        for report in reports {
            let name = &report.name;
            let is_ignored = patterns.iter().any(|pattern| matches_pattern(pattern, name.as_str()));
            if !is_ignored && !declared.contains(name.key().as_bytes().as_slice()) {
                add(report, &transaction).await?;
            }
        }
        commit(transaction).await
    }

    async fn try_ignore(&self, pattern: &str, reason: &str, who: &str, now: Timestamp) -> Attempt<()> {
        let transaction = self.begin().await?;
        let row = ignored_miss::ActiveModel::new(pattern, reason, who, now);
        insert_unless_there(row, ignored_miss::Column::PatternKey, ignored_miss::Column::Id, &transaction).await?;
        let detail = rules::ignored_detail(pattern, reason);
        insert(audit::ActiveModel::new(now, who, "ignored", None, &detail), &transaction).await?;
        commit(transaction).await
    }

    /// Removes some misses that match, among those after this id; returns where to go on, if there may be more.
    async fn forget_some(&self, pattern: &str, after: Uuid) -> Attempt<Option<Uuid>> {
        let rows: Vec<(Uuid, String)> = miss::Entity::find()
            .select_only()
            .columns([miss::Column::Id, miss::Column::Name])
            .filter(may_match(miss::Column::Name, pattern))
            .filter(miss::Column::Id.gt(after))
            .order_by_asc(miss::Column::Id)
            .limit(FORGOTTEN_AT_ONCE as u64)
            .into_tuple()
            .all(&self.writer)
            .await?;
        let matching: Vec<_> =
            rows.iter().filter(|(_, name)| matches_pattern(pattern, name)).map(|(id, _)| *id).collect();
        if !matching.is_empty() {
            miss::Entity::delete_many().filter(miss::Column::Id.is_in(matching)).exec(&self.writer).await?;
        }
        Ok(rows.last().filter(|_| rows.len() == FORGOTTEN_AT_ONCE).map(|(id, _)| *id))
    }
}

/// Misses of names that are not declared. A report that is written while its name is being declared leaves a row behind;
/// declaring again removes it, and until then it is passed over here.
fn undeclared() -> Select<miss::Entity> {
    let declared = Query::select()
        .expr(Expr::val(1))
        .from(artifact::Entity)
        .and_where(
            Expr::col((artifact::Entity, artifact::Column::NameKey)).equals((miss::Entity, miss::Column::NameKey)),
        )
        .take();
    miss::Entity::find().filter(Expr::exists(declared).not())
}

/// Which of these names are declared.
async fn declared(reports: &[&MissReport], connection: &impl ConnectionTrait) -> Attempt<HashSet<Vec<u8>>> {
    let keys = reports.iter().map(|report| report.name.key().as_bytes().to_vec());
    let found: Vec<Vec<u8>> = artifact::Entity::find()
        .select_only()
        .column(artifact::Column::NameKey)
        .filter(artifact::Column::NameKey.is_in(keys))
        .into_tuple()
        .all(connection)
        .await?;
    Ok(found.into_iter().collect())
}

async fn patterns(connection: &impl ConnectionTrait) -> Attempt<Vec<String>> {
    let all = ignored_miss::Entity::find()
        .order_by_asc(ignored_miss::Column::At)
        .order_by_asc(ignored_miss::Column::Id)
        .all(connection)
        .await?;
    Ok(all.into_iter().map(|row| row.pattern).collect())
}

/// Adds a report to its row. In plain statements one after the other: databases disagree on how an `INSERT` that meets an
/// existing row computes with the old values.
async fn add(report: &MissReport, connection: &impl ConnectionTrait) -> Attempt<()> {
    insert_unless_there(miss::ActiveModel::new(report), miss::Column::NameKey, miss::Column::Id, connection).await?;
    let own = || miss::Entity::update_many().filter(miss::Column::NameKey.eq(report.name.key().as_bytes().to_vec()));
    let sum = Expr::col(miss::Column::Count).add(number(report.count));
    own().col_expr(miss::Column::Count, sum).exec(connection).await?;
    let first_seen = micros(report.first_seen);
    own()
        .col_expr(miss::Column::FirstSeen, first_seen.into())
        .filter(miss::Column::FirstSeen.gt(first_seen))
        .exec(connection)
        .await?;
    own()
        .set(miss::ActiveModel::last_request(report))
        .filter(miss::Column::LastSeen.lte(micros(report.last_seen)))
        .exec(connection)
        .await?;
    Ok(())
}
