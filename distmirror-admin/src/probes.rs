//! `/healthz`, `/readyz`, `/metrics`: what machines ask.

use std::sync::Arc;

use poem::{IntoResponse, Response, handler, http::StatusCode, web::Data};

use crate::site::Site;

/// 200 as long as the process answers.
#[handler]
pub(crate) fn live() -> &'static str {
    "ok\n"
}

/// 200 when catalog and blob store answer; otherwise 503 with a line for each problem.
#[handler]
pub(crate) async fn ready(site: Data<&Arc<Site>>) -> Response {
    let problems = site.mirror.readiness().await;
    if problems.is_empty() {
        return "ok\n".into_response();
    }
    let lines: String = problems.iter().map(|problem| problem.chain() + "\n").collect();
    (StatusCode::SERVICE_UNAVAILABLE, lines).into_response()
}

/// The metrics as Prometheus text.
#[handler]
pub(crate) fn metrics(site: Data<&Arc<Site>>) -> Response {
    Response::builder().content_type("text/plain; version=0.0.4").body((site.metrics)())
}
