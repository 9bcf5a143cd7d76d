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
    has_errors: bool,
    /// What a link asked to declare, and is declared.
    known: Option<Known>,
}

#[derive(Serialize)]
struct Known {
    id: String,
    state: &'static str,
}

/// The empty form, or one that a link filled in.
#[handler]
pub(super) async fn show(site: Data<&Arc<Site>>, request: &Request) -> Result<Response, Problem> {
    let form = Form::parse(request.uri().query().unwrap_or_default().as_bytes());
    let known = known(&site, form.text("uri")).await?;
    Ok(render(&site, &form, &[], known))
}

/// Declares what the form says.
#[handler]
pub(super) async fn submit(site: Data<&Arc<Site>>, who: Who, form: Form) -> Result<Response, Problem> {
    let wanted = read(&form);
    let errors = check(&wanted, &who);
    if !errors.is_empty() {
        return Ok(show_again(&site, &form, &errors));
    }
    let mut outcomes = Vec::with_capacity(wanted.len());
    for declare in &wanted {
        match site.mirror.declare(declare, &who.0).await {
            Ok(declared) => outcomes.push(declared),
            Err(error @ Error::ChecksumConflict { .. }) => {
                return Ok(show_again(&site, &form, &[FieldError::new("sha256", error.to_string())]));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(match outcomes.as_slice() {
        [only] => {
            let what = if only.is_new { "declared" } else { "added" };
            done(&format!("/artifacts/{}", only.artifact.id), what)
        }
        _ => done("/artifacts", "all-declared"),
    })
}

/// Links in answers of the proxy lead here also for what is declared, but cannot be served.
async fn known(site: &Site, uri: &str) -> Result<Option<Known>, Problem> {
    if uri.is_empty() {
        return Ok(None);
    }
    match site.mirror.find(uri).await {
        Ok(found) => Ok(Some(Known { id: found.id.to_string(), state: found.state.as_str() })),
        Err(Error::NotFound { .. } | Error::Invalid(_)) => Ok(None),
        Err(error) => Err(error.into()),
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

/// What is wrong with them.
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
    errors
}

/// The form with what was typed and what is wrong with it.
fn show_again(site: &Site, form: &Form, errors: &[FieldError]) -> Response {
    let mut page = render(site, form, errors, None);
    page.set_status(StatusCode::UNPROCESSABLE_ENTITY);
    page
}

fn render(site: &Site, form: &Form, errors: &[FieldError], known: Option<Known>) -> Response {
    let typed = FIELDS.map(|field| (field, form.text(field))).into();
    let of_field = |field: &'static str| {
        let of_this = errors.iter().filter(|error| error.field == field);
        let mut messages: Vec<String> = of_this.map(|error| error.message.clone()).collect();
        messages.dedup();
        (field, messages)
    };
    let page = DeclarePage { typed, errors: FIELDS.map(of_field).into(), has_errors: !errors.is_empty(), known };
    site.templates.page("declare.html", "/declare", &page)
}

const FIELDS: [&str; 8] = ["uri", "reason", "project", "sha256", "sha512", "integrity", "license", "ticket"];
