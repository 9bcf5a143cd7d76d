//! What can go wrong, told so that a caller can act on it.
//!
//! Messages carry their subject and never print their source: one reporter at the edge prints the chain. No variant holds
//! an HTTP status; each front end decides statuses in one function of its own.

use crate::{Sha256, State, artifact::ArtifactId};

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Any error of an implementation, kept as the cause.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// Why something in the domain did not happen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing of that name or id is known.
    #[error("no {what} `{id}`")]
    NotFound {
        /// What was looked for: `artifact`, `miss`, ...
        what: &'static str,
        /// The id or name as the caller gave it.
        id: String,
    },
    /// The input contradicts the rules; every bad field is named.
    #[error("{}", join(.0))]
    Invalid(Vec<Problem>),
    /// The artifact is declared, or already here, with another checksum.
    #[error("`{name}` has another checksum: declared now `{declared}`, on record `{recorded}`")]
    ChecksumConflict {
        /// The artifact that exists.
        artifact: ArtifactId,
        /// Its canonical name.
        name: String,
        /// What the caller declared.
        declared: String,
        /// What the catalog holds.
        recorded: String,
    },
    /// The artifact is not in a state in which this can be done.
    #[error("artifact `{artifact}` is {state}: {remedy}")]
    WrongState {
        /// The artifact.
        artifact: ArtifactId,
        /// The state it is in.
        state: State,
        /// What can be done instead.
        remedy: &'static str,
    },
    /// Another worker holds the job now; what this one brought must be dropped.
    #[error("the lease on artifact `{artifact}` was lost")]
    LeaseLost {
        /// The artifact.
        artifact: ArtifactId,
    },
    /// The bytes are not those that were declared.
    #[error("checksum mismatch: expected `{expected}`, received `{received}` ({size} bytes)")]
    ChecksumMismatch {
        /// The declared digest.
        expected: String,
        /// The digest of the same algorithm over what came.
        received: String,
        /// How many bytes came.
        size: u64,
    },
    /// More bytes than are allowed.
    #[error("larger than the limit of {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The catalog did not answer.
    #[error("the catalog is unavailable")]
    CatalogUnavailable(#[source] BoxError),
    /// The blob store did not answer.
    #[error("the blob store is unavailable")]
    StorageUnavailable(#[source] BoxError),
    /// The catalog knows the blob and the blob store does not have it.
    #[error("blob `{blob}` is missing from the blob store")]
    BlobMissing {
        /// The blob.
        blob: Sha256,
    },
    /// The blob store holds other bytes than the name of the blob says.
    #[error("blob `{blob}` is damaged: {problem}")]
    BlobCorrupt {
        /// The blob.
        blob: Sha256,
        /// What was observed.
        problem: String,
    },
    /// The local spool cannot be written or read.
    #[error("cannot use the spool at `{path}`")]
    Spool {
        /// The file or folder.
        path: String,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// Wraps a backend's error as "the catalog is unavailable".
    pub fn catalog(source: impl Into<BoxError>) -> Self {
        Self::CatalogUnavailable(source.into())
    }

    /// Wraps a backend's error as "the blob store is unavailable".
    pub fn storage(source: impl Into<BoxError>) -> Self {
        Self::StorageUnavailable(source.into())
    }

    /// One bad field.
    pub fn invalid(field: &'static str, message: impl Into<String>) -> Self {
        Self::Invalid(vec![Problem::new(field, message)])
    }

    /// Whether the thing asked for does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// Whether trying again later may help without anyone changing anything.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::CatalogUnavailable(_) | Self::StorageUnavailable(_) | Self::Spool { .. })
    }

    /// The message with every cause, separated by `: `; the one place where a chain is printed.
    pub fn chain(&self) -> String {
        chain(self)
    }
}

/// The message of an error with every cause, separated by `: `.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// One bad field of an input, with what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// The name of the field as the caller wrote it.
    pub field: &'static str,
    /// What is wrong and how to mend it.
    pub message: String,
}

impl Problem {
    /// A problem with this field.
    pub fn new(field: &'static str, message: impl Into<String>) -> Self {
        Self { field, message: message.into() }
    }
}

fn join(problems: &[Problem]) -> String {
    let each: Vec<_> = problems.iter().map(|p| format!("{}: {}", p.field, p.message)).collect();
    each.join("; ")
}
