//! `/artifacts/ID`: everything about one artifact, and what can be done with it. What files and images have in common is
//! here; what they have not is in `file` and `image`.

mod by_hand;
mod command;
mod file;
mod image;

use std::sync::Arc;

use distmirror_core::{Artifact, ArtifactId, ArtifactName, Declare, PageRequest, Problem as FieldProblem};
use poem::{
    Response, handler,
    web::{Data, Path},
};
use serde::Serialize;
use uuid::Uuid;

use crate::{
    fulfil::fulfil,
    identity::Who,
    json::{self, AuditEntry, DailyUsage, List},
    pages::{Flash, advice, done, form::Form},
    problem::{FieldError, Problem},
    site::Site,
};

#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    said: Said<'a>,
    /// The canonical name.
    name: String,
    artifact: json::Artifact,
    history: Vec<AuditEntry>,
    /// Who used it, on the last days on which somebody did.
    daily_usage: List<DailyUsage>,
    /// What to do about the last error.
    advice: Option<&'static str>,
}

/// What the page says of the form that led to it.
#[derive(Default, Serialize)]
struct Said<'a> {
    flash: Option<&'static str>,
    alert: Option<&'a str>,
    /// The checksum that was typed.
    typed_sha256: Option<&'a str>,
}

/// What is shown of every artifact, and what is shown of its kind.
#[derive(Serialize)]
struct With<'a, T> {
    #[serde(flatten)]
    shown: Shown<'a>,
    #[serde(flatten)]
    of_kind: T,
}

/// The artifact.
#[handler]
pub(super) async fn show(site: Data<&Arc<Site>>, Path(id): Path<Uuid>, flash: Flash) -> Result<Response, Problem> {
    render(&site, ArtifactId(id), Said { flash: flash.0, ..Said::default() }).await
}

/// Tries a failed artifact again.
#[handler]
pub(super) async fn retry(site: Data<&Arc<Site>>, Path(id): Path<Uuid>, who: Who) -> Result<Response, Problem> {
    let id = ArtifactId(id);
    let outcome = site.mirror.retry(id, &who.0).await;
    finish(&site, id, outcome, "retried").await
}

/// Takes the artifact out of service.
#[handler]
pub(super) async fn quarantine(
    site: Data<&Arc<Site>>,
    Path(id): Path<Uuid>,
    who: Who,
    form: Form,
) -> Result<Response, Problem> {
    let id = ArtifactId(id);
    let outcome = site.mirror.quarantine(id, form.text("reason"), &who.0).await;
    finish(&site, id, outcome, "quarantined").await
}

/// Puts the artifact back into service.
#[handler]
pub(super) async fn release(
    site: Data<&Arc<Site>>,
    Path(id): Path<Uuid>,
    who: Who,
    form: Form,
) -> Result<Response, Problem> {
    let id = ArtifactId(id);
    let outcome = site.mirror.release(id, form.text("reason"), &who.0).await;
    finish(&site, id, outcome, "released").await
}

/// Declares an image with another platform, or with all of them.
#[handler]
pub(super) async fn add_platform(
    site: Data<&Arc<Site>>,
    Path(id): Path<Uuid>,
    who: Who,
    form: Form,
) -> Result<Response, Problem> {
    let id = ArtifactId(id);
    let found = site.artifact(id).await?;
    let outcome = match more_of(&found, &form) {
        Ok(wanted) => site.mirror.declare(&wanted, &who.0).await.map(|declared| declared.artifact),
        Err(problem) => Err(distmirror_core::Error::Invalid(vec![problem])),
    };
    finish(&site, id, outcome, "more").await
}

/// Takes in the bytes of a file.
#[handler]
pub(super) async fn supply(
    site: Data<&Arc<Site>>,
    Path(id): Path<Uuid>,
    who: Who,
    form: by_hand::Form,
) -> Result<Response, Problem> {
    let id = ArtifactId(id);
    let typed = form.sha256.clone();
    let outcome = match form.file {
        Some(file) => fulfil(&site, id, &who.0, form.sha256, file).await,
        None => Err(Problem::invalid(vec![FieldError::new("file", "is missing: choose the one to supply")])),
    };
    finish_typed(&site, id, outcome, "supplied", typed.as_deref()).await
}

/// The declaration that the form asks for. One click must do, so that a reason may be left out: then it says what was done.
fn more_of(artifact: &Artifact, form: &Form) -> Result<Declare, FieldProblem> {
    let problem = |message| Err(FieldProblem::new("platform", message));
    if !matches!(artifact.name, ArtifactName::Image(_)) {
        return problem("belongs to images: this is none");
    }
    let Some(platform) = form.given("platform") else {
        return problem("is missing: name one, or `all`");
    };
    let added = match platform.as_str() {
        "all" => "all its platforms were added on its page".to_owned(),
        one => format!("platform {one} was added on its page"),
    };
    let reason = Some(form.given("reason").unwrap_or(added));
    Ok(Declare { platforms: vec![platform], reason, ..Declare::of(&artifact.name) })
}

async fn finish(
    site: &Site,
    id: ArtifactId,
    outcome: distmirror_core::Result<Artifact>,
    what: &str,
) -> Result<Response, Problem> {
    finish_typed(site, id, outcome.map_err(Problem::from), what, None).await
}

async fn finish_typed(
    site: &Site,
    id: ArtifactId,
    outcome: Result<Artifact, Problem>,
    what: &str,
    typed_sha256: Option<&str>,
) -> Result<Response, Problem> {
    match outcome {
        Ok(artifact) => Ok(done(&format!("/artifacts/{}", artifact.id), what)),
        Err(problem) if problem.is_mendable() => {
            let said = Said { alert: Some(&problem.detail), typed_sha256, flash: None };
            let mut page = render(site, id, said).await?;
            page.set_status(problem.status_code());
            Ok(page)
        }
        Err(problem) => Err(problem),
    }
}

async fn render(site: &Site, id: ArtifactId, said: Said<'_>) -> Result<Response, Problem> {
    let catalog = site.mirror.catalog();
    let found = site.artifact(id).await?;
    let history = catalog.audit(Some(id), &PageRequest::first(50)).await?;
    let daily_usage = catalog.daily_usage(id, &PageRequest::first(MOST_USERS_SHOWN)).await?;
    let shown = Shown {
        said,
        name: found.name.to_string(),
        artifact: json::artifact(catalog.as_ref(), found.clone()).await?,
        history: List::of(history).items,
        daily_usage: List::of(daily_usage),
        advice: found.last_error.as_deref().map(advice::on),
    };
    match &found.name {
        ArtifactName::File(uri) => {
            let of_kind = file::view(uri, &found, &site.options);
            Ok(site.templates.page("file.html", "/artifacts", &With { shown, of_kind }))
        }
        ArtifactName::Image(name) => {
            let of_kind = image::view(site, name, &found).await?;
            Ok(site.templates.page("image.html", "/images", &With { shown, of_kind }))
        }
        _ => Ok(site.templates.page("artifact.html", "/artifacts", &shown)),
    }
}

/// How much of who used it is shown; the API has all of it.
const MOST_USERS_SHOWN: usize = 20;
