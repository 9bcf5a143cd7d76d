//! What went wrong, as the client is told: problem details (RFC 9457). The one place that decides HTTP statuses.
//!
//! What the log gets is another text: the chain of causes of trouble that an operator must look into is logged here, once,
//! and never sent.

use distmirror_core as core;
use poem::{
    IntoResponse, Response,
    error::{MethodNotAllowedError, NotFoundError, ParsePathError, ResponseError},
    http::StatusCode,
};
use poem_openapi::{
    ApiResponse, Enum, Object,
    error::{ContentTypeError, ParseParamError, ParsePathError as ParsePathParamError},
    registry::{MetaMediaType, MetaResponse, MetaResponses, Registry},
    types::Type,
};
use serde::Serialize;

/// Problem details (RFC 9457): what went wrong and what to do.
#[derive(Debug, Clone, Serialize, Object, thiserror::Error)]
#[error("{detail}")]
pub(crate) struct Problem {
    /// Always `about:blank`; `code` tells problems apart.
    #[serde(rename = "type")]
    #[oai(rename = "type")]
    kind: ProblemType,
    /// The name of the HTTP status.
    pub(crate) title: String,
    /// The HTTP status.
    pub(crate) status: u16,
    /// A word for programs, such as `invalid` or `checksum_conflict`.
    pub(crate) code: String,
    /// What went wrong and what to do, for people.
    pub(crate) detail: String,
    /// Every invalid field.
    pub(crate) errors: Vec<FieldError>,
}

/// What RFC 9457 calls the type of a problem.
#[derive(Debug, Clone, Copy, Serialize, Enum)]
enum ProblemType {
    /// A problem that needs no document of its own to be understood.
    #[serde(rename = "about:blank")]
    #[oai(rename = "about:blank")]
    Plain,
}

/// One invalid field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Object)]
pub(crate) struct FieldError {
    /// The name of the field as it was sent.
    pub(crate) field: String,
    /// What is wrong with it and how to mend it.
    pub(crate) message: String,
}

impl FieldError {
    pub(crate) fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: ProblemType::Plain,
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            code: code.to_owned(),
            detail: detail.into(),
            errors: Vec::new(),
        }
    }

    /// 422: the body is readable, and these fields are not as they should be.
    pub(crate) fn invalid(errors: Vec<FieldError>) -> Self {
        Self::fields(StatusCode::UNPROCESSABLE_ENTITY, "invalid", errors)
    }

    /// 400: these fields of the query or the path are not as they should be.
    pub(crate) fn bad_query(errors: Vec<FieldError>) -> Self {
        Self::fields(StatusCode::BAD_REQUEST, "bad_request", errors)
    }

    /// 400: the request as a whole cannot be read.
    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", detail)
    }

    /// 415: the body is not of the media type that this address takes.
    pub(crate) fn wrong_media_type(wanted: &str) -> Self {
        let detail = format!("send the body with `Content-Type: {wanted}`");
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail)
    }

    /// 404: nothing is at this address.
    pub(crate) fn nothing_here() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "there is nothing at this address")
    }

    /// 500: a defect; the log says more.
    pub(crate) fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "this should not happen; the log says more")
    }

    /// What core's error is to whoever sent it in a query rather than in a body.
    pub(crate) fn of_query(error: core::Error) -> Self {
        match error {
            core::Error::Invalid(problems) => Self::bad_query(problems.into_iter().map(FieldError::from).collect()),
            other => other.into(),
        }
    }

    /// What an error of the web framework, or one of ours on its way through it, says to the client.
    pub(crate) fn of_framework(error: poem::Error) -> Self {
        let bad_field = |field: &str, reason: &str| Self::bad_query(vec![FieldError::new(field, reason)]);
        if let Some(error) = error.downcast_ref::<ParseParamError>() {
            return bad_field(error.name, &error.reason);
        }
        if error.is::<ParsePathParamError>() || error.is::<ParsePathError>() {
            return bad_field("id", "is not an id: a UUID such as `0192d7c4-7a51-7000-8000-000000000000`");
        }
        if error.is::<NotFoundError>() {
            return Self::nothing_here();
        }
        if error.is::<ContentTypeError>() {
            return Self::wrong_media_type("application/json");
        }
        if error.is::<MethodNotAllowedError>() {
            let detail = "this address does not take that method: see `Allow`";
            return Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail);
        }
        error.downcast::<Self>().unwrap_or_else(|error| {
            if error.status().is_client_error() {
                return Self::new(error.status(), "bad_request", error.to_string());
            }
            tracing::error!(%error, "a request failed");
            Self::internal()
        })
    }

    pub(crate) fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Whether the person who sent it can do something about it.
    pub(crate) fn is_mendable(&self) -> bool {
        self.status_code().is_client_error()
    }

    fn fields(status: StatusCode, code: &str, mut errors: Vec<FieldError>) -> Self {
        errors.truncate(MAX_ERRORS);
        let each: Vec<_> = errors.iter().map(|error| format!("{}: {}", error.field, error.message)).collect();
        Self { errors, ..Self::new(status, code, each.join("; ")) }
    }
}

/// The one table from trouble in the domain to what HTTP calls it.
fn classify(error: &core::Error) -> (StatusCode, &'static str) {
    match error {
        core::Error::NotFound { .. } => (StatusCode::NOT_FOUND, "not_found"),
        core::Error::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid"),
        core::Error::ChecksumConflict { .. } => (StatusCode::CONFLICT, "checksum_conflict"),
        core::Error::ChecksumMismatch { .. } => (StatusCode::CONFLICT, "checksum_mismatch"),
        core::Error::WrongState { .. } => (StatusCode::CONFLICT, "wrong_state"),
        core::Error::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
        core::Error::CatalogUnavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "catalog_unavailable"),
        core::Error::StorageUnavailable(_) | core::Error::Spool { .. } => {
            (StatusCode::SERVICE_UNAVAILABLE, "storage_unavailable")
        }
        core::Error::BlobMissing { .. } => (StatusCode::SERVICE_UNAVAILABLE, "blob_missing"),
        core::Error::BlobCorrupt { .. } => (StatusCode::SERVICE_UNAVAILABLE, "blob_corrupt"),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
    }
}

impl From<core::Error> for Problem {
    fn from(error: core::Error) -> Self {
        let (status, code) = classify(&error);
        if status.is_server_error() {
            tracing::error!(code, error = error.chain(), "a request failed");
        }
        match error {
            core::Error::Invalid(problems) => Self::invalid(problems.into_iter().map(FieldError::from).collect()),
            _ if status == StatusCode::SERVICE_UNAVAILABLE => {
                Self::new(status, code, format!("{error}: try again in a few seconds"))
            }
            _ if status.is_server_error() => Self::internal(),
            other => Self::new(status, code, other.to_string()),
        }
    }
}

impl From<core::Problem> for FieldError {
    fn from(problem: core::Problem) -> Self {
        Self::new(problem.field, problem.message)
    }
}

impl ResponseError for Problem {
    fn status(&self) -> StatusCode {
        self.status_code()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).expect("a problem consists of texts and numbers");
        Response::builder().status(self.status_code()).content_type(MEDIA_TYPE).body(body)
    }
}

impl ApiResponse for Problem {
    fn meta() -> MetaResponses {
        let content = vec![MetaMediaType { content_type: MEDIA_TYPE, schema: Self::schema_ref() }];
        let description = "Anything else: what went wrong and what to do.";
        MetaResponses {
            responses: vec![MetaResponse { description, status: None, status_range: None, content, headers: vec![] }],
        }
    }

    fn register(registry: &mut Registry) {
        <Self as Type>::register(registry);
    }
}

/// How many invalid fields are named at most, so that an answer is never much larger than its request.
const MAX_ERRORS: usize = 100;
const MEDIA_TYPE: &str = "application/problem+json";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_of_the_service_is_503_and_keeps_its_causes() {
        for (error, code) in [
            (core::Error::catalog("password is hunter2"), "catalog_unavailable"),
            (core::Error::storage("password is hunter2"), "storage_unavailable"),
        ] {
            let problem = Problem::from(error);
            assert_eq!((problem.status, problem.code.as_str()), (503, code));
            assert!(!problem.detail.contains("hunter2"), "{problem:?}");
        }
    }

    #[test]
    fn a_defect_says_nothing_of_itself() {
        let error = core::Error::LeaseLost { artifact: core::ArtifactId::new() };
        let problem = Problem::from(error);
        assert_eq!((problem.status, problem.detail.as_str()), (500, "this should not happen; the log says more"));
    }
}
