//! The pages: server-rendered, useful without a script, and made of the same objects that the API gives.
//!
//! A form that worked leads to a page by redirect, with a word in `done` that the page turns into a sentence. A form that
//! did not is shown again with what was typed and what is wrong with it.

mod advice;
mod artifact;
mod artifacts;
mod audit;
mod declare;
mod docs;
mod form;
mod images;
mod misses;
mod naming;
mod overview;
mod scrubs;
mod setup;
mod templates;

use poem::{
    FromRequest, Request, RequestBody, Response,
    http::{StatusCode, header},
};
use serde_json::json;

pub(crate) use crate::pages::templates::Templates;
use crate::{problem::Problem, routes::Routes, site::Site};

/// Adds every page to the routes.
pub(crate) fn routes(routes: Routes) -> Routes {
    routes
        .get("/", overview::show)
        .get("/artifacts", artifacts::show)
        .get("/images", images::show)
        .get("/artifacts/:id", artifact::show)
        .post("/artifacts/:id/platforms", artifact::add_platform)
        .post("/artifacts/:id/content", artifact::supply)
        .post("/artifacts/:id/retry", artifact::retry)
        .post("/artifacts/:id/quarantine", artifact::quarantine)
        .post("/artifacts/:id/release", artifact::release)
        .get("/declare", declare::show)
        .post("/declare", declare::submit)
        .get("/misses", misses::show)
        .post("/misses/declare", misses::declare)
        .post("/misses/ignore", misses::ignore)
        .get("/scrubs", scrubs::list)
        .post("/scrubs", scrubs::start)
        .get("/scrubs/:id", scrubs::show)
        .get("/audit", audit::show)
        .get("/setup", setup::show)
        .get("/ca.pem", setup::certificate)
        .get("/api/docs", docs::show)
}

/// The page that tells of a problem.
pub(crate) fn problem(site: &Site, problem: &Problem) -> Response {
    let mut page = site.templates.page("problem.html", "", &json!({ "problem": problem }));
    page.set_status(problem.status_code());
    page
}

/// Leads on to a page, which then says what was done.
fn done(path: &str, what: &str) -> Response {
    Response::builder().status(StatusCode::SEE_OTHER).header(header::LOCATION, format!("{path}?done={what}")).finish()
}

/// The sentence about what was done by the form that led to this page.
struct Flash(Option<&'static str>);

impl<'a> FromRequest<'a> for Flash {
    async fn from_request(request: &'a Request, _body: &mut RequestBody) -> poem::Result<Self> {
        let query = request.uri().query().unwrap_or_default();
        let done = query.split('&').find_map(|field| field.strip_prefix("done="));
        let sentence = SENTENCES.iter().find(|(word, _)| Some(*word) == done);
        Ok(Self(sentence.map(|(_, sentence)| *sentence)))
    }
}

const SENTENCES: [(&str, &str); 10] = [
    ("declared", "Declared. It is fetched as soon as a worker is free."),
    ("added", "It was declared already. Your declaration was added."),
    ("all-declared", "Declared. Everything is fetched as soon as workers are free; it stands among the artifacts."),
    ("more", "Wanted from now on. What of it is missing is fetched as soon as a worker is free."),
    ("supplied", "It is here, verified and in service."),
    ("scrubbing", "It runs, also when nobody looks. This page follows it by itself."),
    ("retried", "It is fetched again as soon as a worker is free."),
    ("quarantined", "Taken out of service. The bytes are kept."),
    ("released", "Back in service."),
    ("ignored", "Ignored from now on."),
];
