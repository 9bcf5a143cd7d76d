//! Which address leads where, and what every request passes on its way: guard, handler, errors, protecting header fields.

use std::sync::Arc;

use poem::{
    Endpoint, EndpointExt, IntoResponse, Request, Response,
    endpoint::{BoxEndpoint, make_sync},
    http::{HeaderValue, StatusCode, header},
    middleware::CatchPanic,
};

use crate::{
    api, assets, guard, pages, probes,
    problem::Problem,
    routes::{Allowed, Routes},
    site::Site,
};

/// Everything that the admin port answers.
pub(crate) type App = BoxEndpoint<'static, Response>;

/// The whole site.
pub(crate) fn app(site: Arc<Site>) -> App {
    let service = api::service(&site);
    let document = service.spec();
    let routes = Routes::default()
        .get("/healthz", probes::live)
        .get("/readyz", probes::ready)
        .get("/metrics", probes::metrics)
        .get("/static/:name", assets::serve)
        .get("/api/openapi.json", make_sync(move |_| json_document(&document)));
    let (route, allowed) = pages::routes(routes).build(api::PREFIX, service, api::paths());
    let allowed = Arc::new(allowed);
    let shared = Arc::clone(&site);
    route
        .data(site)
        .with(CatchPanic::new().with_handler(|_| Problem::internal().into_response()))
        .around(move |next, request| answer(Arc::clone(&shared), Arc::clone(&allowed), next, request))
        .map_to_response()
        .boxed()
}

async fn answer<E: Endpoint<Output = Response>>(
    site: Arc<Site>,
    allowed: Arc<Allowed>,
    next: Arc<E>,
    request: Request,
) -> poem::Result<Response> {
    let path = request.uri().path().to_owned();
    let answered = match guard::check(&site, &request) {
        Ok(()) => next.call(request).await.map_err(Problem::of_framework),
        Err(problem) => Err(problem),
    };
    let mut response = match answered {
        Ok(response) => response,
        Err(problem) => refuse(&site, &allowed, &path, problem).await,
    };
    guard::protect(&mut response);
    Ok(response)
}

/// A problem as a document for programs or as a page for people, with the header fields that its status asks for.
async fn refuse(site: &Site, allowed: &Allowed, path: &str, problem: Problem) -> Response {
    let status = problem.status_code();
    let mut response = if guard::is_api(path) { problem.into_response() } else { pages::problem(site, &problem) };
    if status == StatusCode::METHOD_NOT_ALLOWED
        && let Some(methods) = allowed.at(path).await
    {
        response.headers_mut().insert(header::ALLOW, methods);
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    }
    response
}

fn json_document(document: &str) -> Response {
    Response::builder().content_type("application/json").body(document.to_owned())
}
