//! The rows of `artifacts`.

use distmirror_core::{
    Algorithm, Artifact, ArtifactId, Content, Digests, NewDeclaration, Progress, Scheme, Selection, Sha256, Source,
    State, Watch, catalog::rules,
};
use jiff::Timestamp;
use sea_orm::{ActiveValue, Iterable, Set, entity::prelude::*};
use serde::{Deserialize, Serialize};

use crate::catalog::{
    attempt::{Attempt, Trouble},
    rows::{bytes, count, malformed, micros, name, number, parsed, text, time},
};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "artifacts")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub name_key: Vec<u8>,
    pub name: String,
    pub kind: String,
    pub host: String,
    pub state: String,
    pub expected: String,
    pub sha256: Option<Vec<u8>>,
    pub sha512: Option<Vec<u8>>,
    pub blake2b: Option<Vec<u8>>,
    pub sha1: Option<Vec<u8>>,
    pub md5: Option<Vec<u8>>,
    pub size: Option<i64>,
    pub content_type: Option<String>,
    pub content_disposition: Option<String>,
    pub content_encoding: Option<String>,
    pub last_modified: Option<String>,
    pub source: Option<String>,
    pub attempts: i32,
    /// How many attempts were made before a person asked for a retry.
    pub attempts_before: i32,
    pub last_error: Option<String>,
    /// When it is to be handed out; while it is being fetched, when the lease expires.
    pub due_at: Option<i64>,
    pub lease_token: Option<Uuid>,
    pub lease_worker: Option<String>,
    pub progress_bytes: Option<i64>,
    pub progress_total: Option<i64>,
    pub quarantine_reason: Option<String>,
    pub declared_at: i64,
    pub fetched_at: Option<i64>,
    /// Another number whenever the row is changed.
    pub revision: i64,
    /// The path of an image's repository in its registry, which is the host.
    pub repository: Option<String>,
    pub platforms_wanted: Option<String>,
    pub platforms_held: Option<String>,
    pub upstream_scheme: Option<String>,
    pub platforms_lacking: Option<String>,
    pub damage: Option<String>,
    pub watched_at: Option<i64>,
    pub watch_status: Option<String>,
    pub watch_detail: Option<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    /// The artifact that the row records.
    pub(in crate::catalog) fn artifact(&self) -> Attempt<Artifact> {
        let state: State = parsed(&self.state)?;
        let waits = self.lease_token.is_none();
        Ok(Artifact {
            id: ArtifactId(self.id),
            name: name(&self.kind, &self.name)?,
            state,
            expected: parsed(&self.expected)?,
            content: self.content()?,
            attempts: self.attempts.try_into().map_err(malformed)?,
            last_error: self.last_error.clone(),
            next_attempt_at: self.due_at.filter(|_| waits).map(time).transpose()?,
            progress: self.progress()?,
            quarantine_reason: self.quarantine_reason.clone(),
            declared_at: time(self.declared_at)?,
            fetched_at: self.fetched_at.map(time).transpose()?,
            selection: self.selection()?,
            damage: self.damage.clone(),
            watch: self.watch()?,
        })
    }

    /// The row once these columns of it are written.
    pub(in crate::catalog) fn with(&self, columns: &ActiveModel) -> Attempt<Self> {
        let mut row = self.clone();
        for column in Column::iter() {
            if let ActiveValue::Set(value) = columns.get(column) {
                row.try_set(column, value)?;
            }
        }
        Ok(row)
    }

    fn selection(&self) -> Attempt<Option<Selection>> {
        let Some(wanted) = &self.platforms_wanted else { return Ok(None) };
        let is_plain = self.upstream_scheme.as_deref() == Some(Scheme::Http.as_str());
        Ok(Some(Selection {
            wanted: parsed(wanted)?,
            held: self.platforms_held.as_deref().map(parsed).transpose()?,
            lacking: parsed(self.platforms_lacking.as_deref().unwrap_or_default())?,
            scheme: if is_plain { Scheme::Http } else { Scheme::Https },
        }))
    }

    fn watch(&self) -> Attempt<Option<Watch>> {
        let (Some(at), Some(status)) = (self.watched_at, &self.watch_status) else { return Ok(None) };
        let detail = self.watch_detail.clone().unwrap_or_default();
        Ok(Some(Watch { at: time(at)?, status: parsed(status)?, detail }))
    }

    fn progress(&self) -> Attempt<Option<Progress>> {
        let Some(bytes) = self.progress_bytes else { return Ok(None) };
        Ok(Some(Progress { bytes: count(bytes)?, total: self.progress_total.map(count).transpose()? }))
    }

    fn content(&self) -> Attempt<Option<Content>> {
        let Some(sha256) = &self.sha256 else { return Ok(None) };
        let missing = || malformed("content without all of its columns");
        let column = |value: &Option<Vec<u8>>| value.clone().ok_or_else(missing);
        let digests = Digests {
            sha256: Sha256::from_bytes(bytes(sha256)?),
            sha512: bytes(&column(&self.sha512)?)?,
            blake2b: bytes(&column(&self.blake2b)?)?,
            sha1: bytes(&column(&self.sha1)?)?,
            md5: bytes(&column(&self.md5)?)?,
        };
        Ok(Some(Content {
            digests,
            size: count(self.size.ok_or_else(missing)?)?,
            content_type: self.content_type.clone(),
            content_disposition: self.content_disposition.clone(),
            content_encoding: self.content_encoding.clone(),
            last_modified: self.last_modified.clone(),
            source: StoredSource::read(self.source.as_deref().unwrap_or_default())?,
        }))
    }
}

impl ActiveModel {
    /// The row of an artifact that is declared for the first time.
    pub(in crate::catalog) fn new(id: ArtifactId, wanted: &NewDeclaration, now: Timestamp) -> Self {
        Self {
            id: Set(id.0),
            name_key: Set(wanted.name.key().as_bytes().to_vec()),
            name: Set(wanted.name.as_str().to_owned()),
            kind: Set(wanted.name.kind().as_str().to_owned()),
            host: Set(wanted.name.host()),
            expected: Set(wanted.expected.to_string()),
            attempts: Set(0),
            attempts_before: Set(0),
            declared_at: Set(micros(now)),
            revision: Set(0),
            repository: Set(wanted.name.repository().map(|repository| repository.path().to_owned())),
            ..Self::waiting(State::Pending, Some(now)).selecting(rules::selection_of_new(wanted).as_ref())
        }
    }

    /// These columns and those of what is wanted and here of an image.
    pub(in crate::catalog) fn selecting(self, selection: Option<&Selection>) -> Self {
        let Some(Selection { wanted, held, lacking, scheme }) = selection else { return self };
        Self {
            platforms_wanted: Set(Some(wanted.to_string())),
            platforms_held: Set(held.as_ref().map(ToString::to_string)),
            platforms_lacking: Set(Some(lacking.to_string())),
            upstream_scheme: Set(Some(scheme.as_str().to_owned())),
            ..self
        }
    }

    /// The columns of a row that becomes due now, with all its attempts ahead of it. Who holds a lease on it keeps that.
    pub(in crate::catalog) fn due_again(row: &Model, artifact: &Artifact, now: Timestamp) -> Self {
        let columns = match row.lease_token {
            Some(_) => Default::default(),
            None => Self::waiting(rules::state_after_retrying(artifact), Some(now)),
        };
        Self { attempts_before: Set(row.attempts), last_error: Set(None), ..columns }
    }

    /// The columns of a row that nobody holds: due at this time, if there is one.
    pub(in crate::catalog) fn waiting(state: State, due_at: Option<Timestamp>) -> Self {
        Self {
            state: Set(state.as_str().to_owned()),
            due_at: Set(due_at.map(micros)),
            lease_token: Set(None),
            lease_worker: Set(None),
            progress_bytes: Set(None),
            progress_total: Set(None),
            ..Default::default()
        }
    }

    /// The columns of a row that has become present.
    pub(in crate::catalog) fn present(content: &Content, now: Timestamp) -> Attempt<Self> {
        let value = |algorithm| Set(Some(content.digests.value(algorithm).to_vec()));
        let optional = |value: &Option<String>| Set(value.as_deref().map(text));
        Ok(Self {
            sha256: value(Algorithm::Sha256),
            sha512: value(Algorithm::Sha512),
            blake2b: value(Algorithm::Blake2b),
            sha1: value(Algorithm::Sha1),
            md5: value(Algorithm::Md5),
            size: Set(Some(number(content.size))),
            content_type: optional(&content.content_type),
            content_disposition: optional(&content.content_disposition),
            content_encoding: optional(&content.content_encoding),
            last_modified: optional(&content.last_modified),
            source: Set(Some(StoredSource::write(&content.source)?)),
            last_error: Set(None),
            damage: Set(None),
            fetched_at: Set(Some(micros(now))),
            ..Self::waiting(State::Present, None)
        })
    }
}

/// The column of an algorithm's digests.
pub(in crate::catalog) fn digest_column(algorithm: Algorithm) -> Column {
    match algorithm {
        Algorithm::Sha256 => Column::Sha256,
        Algorithm::Sha512 => Column::Sha512,
        Algorithm::Blake2b => Column::Blake2b,
        Algorithm::Sha1 => Column::Sha1,
        Algorithm::Md5 => Column::Md5,
    }
}

/// A [`Source`] in JSON. Fields may be added; what is absent is empty.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct StoredSource {
    final_url: String,
    redirects: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_certificate_sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

impl StoredSource {
    fn read(json: &str) -> Attempt<Source> {
        let Self { final_url, redirects, peer_certificate_sha256, note } =
            serde_json::from_str(json).map_err(malformed)?;
        Ok(Source { final_url, redirects, peer_certificate_sha256, note })
    }

    fn write(source: &Source) -> Result<String, Trouble> {
        let Source { final_url, redirects, peer_certificate_sha256, note } = source.clone();
        serde_json::to_string(&Self { final_url, redirects, peer_certificate_sha256, note }).map_err(malformed)
    }
}
