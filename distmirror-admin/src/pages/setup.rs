//! `/setup`: how to point a client at the mirror, and the CA certificate that it must trust.

use std::sync::Arc;

use poem::{
    IntoResponse, Response, handler,
    http::header,
    web::{Data, Redirect},
};
use serde_json::json;

use crate::site::Site;

/// The instructions.
#[handler]
pub(super) fn show(site: Data<&Arc<Site>>) -> Response {
    let content = json!({ "proxy": site.options.proxy_address, "ca_pem": site.options.ca_pem });
    site.templates.page("setup.html", "/setup", &content)
}

/// The CA certificate as a file. A process that started before there was one sends people to the proxy, which has it.
#[handler]
pub(super) fn certificate(site: Data<&Arc<Site>>) -> Response {
    if site.options.ca_pem.is_empty() {
        return Redirect::temporary(format!("http://{}/ca.pem", site.options.proxy_address)).into_response();
    }
    Response::builder()
        .content_type("application/x-pem-file")
        .header(header::CONTENT_DISPOSITION, "attachment; filename=\"distmirror-ca.pem\"")
        .body(site.options.ca_pem.clone())
}
