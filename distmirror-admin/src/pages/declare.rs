//! `/declare`: the form, for files or for images. Several may be given, one to a line; then none is declared unless all are
//! good. From tags to digests leads `tags`.

mod looks;
mod tags;

use std::{collections::BTreeMap, sync::Arc};

use distmirror_core::{Algorithm, Declare, Error, Kind};
use poem::{Request, Response, handler, http::StatusCode, web::Data};
use serde::Serialize;

use self::{looks::Looks, tags::Named};
use crate::{
    identity::Who,
    pages::{done, form::Form},
    problem::{FieldError, Problem},
    site::Site,
};

#[derive(Default, Serialize)]
struct DeclarePage<'a> {
    typed: BTreeMap<&'static str, &'a str>,
    /// Whether one of the fields that are folded away has something in it.
    more_is_typed: bool,
    errors: BTreeMap<&'static str, Vec<String>>,
    has_errors: bool,
    /// What a link asked to declare, and is declared.
    known: Option<Known>,
    /// Whether a reference has no digest.
    has_tags: bool,
    /// What tags name now, if somebody has just asked for it.
    named: Vec<Named>,
    /// What there is to know of the files, if somebody has just asked for it.
    looks: Looks,
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
    let known = known(&site, form.text(subject(&form))).await?;
    Ok(render(&site, &form, &[], DeclarePage { known, ..DeclarePage::default() }))
}

/// Declares what the form says; or first looks up what its tags name, or what there is to know of its files.
#[handler]
pub(super) async fn submit(site: Data<&Arc<Site>>, who: Who, form: Form) -> Result<Response, Problem> {
    if form.given("resolve").is_some() && kind(&form) == Kind::Image {
        return resolve(&site, form).await;
    }
    let wanted = read(&form);
    if form.given("look").is_some() && kind(&form) == Kind::File {
        let (looks, errors) = looks::look(&site, &wanted, &who).await?;
        return Ok(render(&site, &form, &errors, DeclarePage { looks, ..DeclarePage::default() }));
    }
    let errors = check(&wanted, &who);
    if !errors.is_empty() {
        return Ok(show_again(&site, &form, &errors));
    }
    let mut outcomes = Vec::with_capacity(wanted.len());
    for declare in &wanted {
        match site.mirror.declare(declare, &who.0).await {
            Ok(declared) => outcomes.push(declared),
            Err(error @ Error::ChecksumConflict { .. }) => {
                let field = if declare.reference.is_some() { "reference" } else { "sha256" };
                return Ok(show_again(&site, &form, &[FieldError::new(field, error.to_string())]));
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

/// The form with digests where there were tags.
async fn resolve(site: &Site, mut form: Form) -> Result<Response, Problem> {
    let resolved = tags::resolve(site, form.text("reference"), &words(form.text("platforms"))).await;
    form.set("reference", resolved.references);
    let known = known(site, form.text("reference")).await?;
    let page = DeclarePage { known, named: resolved.named, ..DeclarePage::default() };
    Ok(render(site, &form, &resolved.errors, page))
}

/// Links in answers of the proxy lead here also for what is declared, but cannot be served.
async fn known(site: &Site, name: &str) -> Result<Option<Known>, Problem> {
    if name.is_empty() {
        return Ok(None);
    }
    match site.mirror.find(name).await {
        Ok(found) => Ok(Some(Known { id: found.id.to_string(), state: found.state.as_str() })),
        Err(Error::NotFound { .. } | Error::Invalid(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What the form is for.
fn kind(form: &Form) -> Kind {
    if form.text("kind") == Kind::Image.as_str() { Kind::Image } else { Kind::File }
}

/// The field that says what is to be declared.
fn subject(form: &Form) -> &'static str {
    if kind(form) == Kind::Image { "reference" } else { "uri" }
}

/// One declaration for each line; at least one, so that an empty form is checked as well.
fn read(form: &Form) -> Vec<Declare> {
    let mut names: Vec<&str> = lines(form.text(subject(form))).collect();
    if names.is_empty() {
        names.push("");
    }
    names.into_iter().map(|name| declaration(form, name)).collect()
}

fn declaration(form: &Form, name: &str) -> Declare {
    let common = Declare {
        kind: kind(form).to_string(),
        reason: form.given("reason"),
        project: form.given("project"),
        license: form.given("license"),
        ticket: form.given("ticket"),
        ..Declare::default()
    };
    let name = Some(name.to_owned());
    match kind(form) {
        Kind::Image => Declare { reference: name, platforms: words(form.text("platforms")), ..common },
        _ => Declare {
            uri: name,
            digests: Algorithm::ALL.into_iter().filter_map(|a| Some((a, form.given(a.name())?))).collect(),
            integrity: form.given("integrity"),
            ..common
        },
    }
}

/// Every line that is not blank.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty())
}

/// Platforms as people write them in one line.
fn words(text: &str) -> Vec<String> {
    let words = text.split(|c: char| c.is_whitespace() || c == ',');
    words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// What is wrong with them.
fn check(wanted: &[Declare], who: &Who) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let several = wanted.len() > 1;
    for declare in wanted {
        let Err(Error::Invalid(problems)) = declare.check(&who.0) else { continue };
        for problem in problems {
            let name = declare.uri.as_deref().or(declare.reference.as_deref());
            let name = name.filter(|_| several && matches!(problem.field, "uri" | "reference"));
            let message = match name {
                Some(name) => format!("{name}: {}", problem.message),
                None => problem.message,
            };
            errors.push(FieldError::new(problem.field, message));
        }
    }
    if several && wanted.iter().any(Declare::has_checksum) {
        errors.push(FieldError::new("sha256", "belongs to one file: declare files with checksums one at a time"));
    }
    errors
}

/// The form with what was typed and what is wrong with it.
fn show_again(site: &Site, form: &Form, errors: &[FieldError]) -> Response {
    render(site, form, errors, DeclarePage::default())
}

fn render<'a>(site: &Site, form: &'a Form, errors: &[FieldError], page: DeclarePage<'a>) -> Response {
    let of_field = |field: &'static str| {
        let of_this = errors.iter().filter(|error| error.field == field);
        let mut messages: Vec<String> = of_this.map(|error| error.message.clone()).collect();
        messages.dedup();
        (field, messages)
    };
    let page = DeclarePage {
        typed: FIELDS.map(|field| (field, form.text(field))).into(),
        more_is_typed: FOLDED.iter().any(|field| form.given(field).is_some()),
        errors: FIELDS.map(of_field).into(),
        has_errors: !errors.is_empty(),
        has_tags: tags::has_tags(form.text("reference")),
        ..page
    };
    let template = if kind(form) == Kind::Image { "declare_image.html" } else { "declare_file.html" };
    let mut response = site.templates.page(template, "/declare", &page);
    if page.has_errors {
        response.set_status(StatusCode::UNPROCESSABLE_ENTITY);
    }
    response
}

const FIELDS: [&str; 13] = [
    "uri",
    "reference",
    "platforms",
    "reason",
    "project",
    "sha256",
    "sha512",
    "blake2b",
    "sha1",
    "md5",
    "integrity",
    "license",
    "ticket",
];
/// Those of a file that are shown when somebody asks for more.
const FOLDED: [&str; 7] = ["sha512", "blake2b", "sha1", "md5", "integrity", "license", "ticket"];
