//! `/declare`: the form. Several URIs may be given, one to a line; then none is declared unless all are good.

use std::{collections::BTreeMap, sync::Arc};

use distmirror_core::{Declare, Error};
use poem::{Request, Response, handler, http::StatusCode, web::Data};
use serde::Serialize;

use crate::{
    identity::Who,
    pages::{done, form::Form},
    problem::{FieldError, Problem},
    site::Site,
};

#[derive(Serialize)]
struct DeclarePage<'a> {
    typed: BTreeMap<&'static str, &'a str>,
    errors: BTreeMap<&'static str, Vec<String>>,
}

/// The empty form, or one that a link filled in.
#[handler]
pub(super) fn show(site: Data<&Arc<Site>>, request: &Request) -> Response {
    let query = request.uri().query().unwrap_or_default();
    render(&site, &Form::parse(query.as_bytes()), &[])
}

/// Declares what the form says.
#[handler]
pub(super) async fn submit(site: Data<&Arc<Site>>, who: Who, form: Form) -> Result<Response, Problem> {
    let wanted = read(&form);
    let mut errors = check(&wanted, &who);
    let mut last = None;
    if errors.is_empty() {
        for declare in &wanted {
            match site.mirror.declare(declare, &who.0).await {
                Ok(declared) => last = Some(declared),
                Err(error @ Error::ChecksumConflict { .. }) => {
                    errors.push(FieldError::new("sha256", error.to_string()))
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    match last {
        Some(declared) if errors.is_empty() && wanted.len() == 1 => {
            let what = if declared.is_new { "declared" } else { "added" };
            Ok(done(&format!("/artifacts/{}", declared.artifact.id), what))
        }
        Some(_) if errors.is_empty() => Ok(done("/artifacts", "all-declared")),
        _ => {
            let mut page = render(&site, &form, &errors);
            page.set_status(StatusCode::UNPROCESSABLE_ENTITY);
            Ok(page)
        }
    }
}

/// One declaration for each line; at least one, so that an empty form is checked as well.
fn read(form: &Form) -> Vec<Declare> {
    let mut uris: Vec<&str> = form.text("uri").lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if uris.is_empty() {
        uris.push("");
    }
    let declare = |uri: &str| Declare {
        uri: Some(uri.to_owned()),
        sha256: form.given("sha256"),
        sha512: form.given("sha512"),
        integrity: form.given("integrity"),
        reason: form.given("reason"),
        project: form.given("project"),
        license: form.given("license"),
        ticket: form.given("ticket"),
        ..Declare::default()
    };
    uris.into_iter().map(declare).collect()
}

/// What is wrong, each complaint once.
fn check(wanted: &[Declare], who: &Who) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let several = wanted.len() > 1;
    for declare in wanted {
        let Err(Error::Invalid(problems)) = declare.check(&who.0) else { continue };
        for problem in problems {
            let uri = declare.uri.as_deref().filter(|_| several && problem.field == "uri");
            let message = match uri {
                Some(uri) => format!("{uri}: {}", problem.message),
                None => problem.message,
            };
            errors.push(FieldError::new(problem.field, message));
        }
    }
    let has_checksum =
        |declare: &Declare| declare.sha256.is_some() || declare.sha512.is_some() || declare.integrity.is_some();
    if several && wanted.iter().any(has_checksum) {
        errors.push(FieldError::new("sha256", "belongs to one file: declare files with checksums one at a time"));
    }
    errors.dedup();
    errors
}

fn render(site: &Site, form: &Form, errors: &[FieldError]) -> Response {
    let typed = FIELDS.map(|field| (field, form.text(field))).into();
    let of_field = |field: &'static str| {
        let of_this = errors.iter().filter(|error| error.field == field);
        let mut messages: Vec<String> = of_this.map(|error| error.message.clone()).collect();
        messages.dedup();
        (field, messages)
    };
    site.templates.page("declare.html", "/declare", &DeclarePage { typed, errors: FIELDS.map(of_field).into() })
}

const FIELDS: [&str; 8] = ["uri", "reason", "project", "sha256", "sha512", "integrity", "license", "ticket"];
