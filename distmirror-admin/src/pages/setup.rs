//! `/setup`: how to point a client at the mirror, and the CA certificate that it must trust.

use std::sync::Arc;

use poem::{Response, handler, http::header, web::Data};
use serde_json::json;

use crate::site::Site;

/// The instructions.
#[handler]
pub(super) fn show(site: Data<&Arc<Site>>) -> Response {
    let content = json!({ "proxy": site.options.proxy_address, "ca_pem": site.options.ca_pem });
    site.templates.page("setup.html", "/setup", &content)
}

/// The CA certificate as a file.
#[handler]
pub(super) fn certificate(site: Data<&Arc<Site>>) -> Response {
    Response::builder()
        .content_type("application/x-pem-file")
        .header(header::CONTENT_DISPOSITION, "attachment; filename=\"distmirror-ca.pem\"")
        .body(site.options.ca_pem.clone())
}
