//! What is refused before anything else, and the header fields that every answer carries.
//!
//! Whoever can reach this port can act, so the danger is a web page that makes a browser ask on its behalf: by rebinding its
//! own name to this address (stopped by the names that are accepted), or by sending a form or a script's request here
//! (stopped by where browsers say that a request comes from).

use std::net::IpAddr;

use distmirror_core::Authority;
use poem::{
    Request, Response,
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
};
use url::Url;

use crate::{problem::Problem, site::Site};

/// Refuses what must not be answered.
///
/// # Errors
/// 421 for an unknown host, 403 for a request that another site made.
pub(crate) fn check(site: &Site, request: &Request) -> Result<(), Problem> {
    let path = request.uri().path();
    if !matches!(path, "/healthz" | "/readyz") {
        check_host(site, request)?;
    }
    if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        return Ok(());
    }
    check_source(site, request, is_api(path))
}

/// Whether this path is the API's, where clients are programs.
pub(crate) fn is_api(path: &str) -> bool {
    path == "/api" || path.starts_with("/api/") && path != "/api/docs"
}

/// Adds the header fields that keep browsers from doing more with an answer than they should.
pub(crate) fn protect(response: &mut Response) {
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // `no-referrer` would make browsers send `Origin: null` with our own forms.
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

fn check_host(site: &Site, request: &Request) -> Result<(), Problem> {
    let from_target = request.uri().authority().map(|authority| authority.as_str());
    let from_header = request.header(header::HOST);
    let mut hosts = from_target.into_iter().chain(from_header).peekable();
    if hosts.peek().is_none() {
        return Err(Problem::bad_request("the request names no host: send `Host`"));
    }
    match hosts.find(|host| !is_known(site, host)) {
        None => Ok(()),
        Some(host) => {
            let detail = format!(
                "`{}` is not a name of this site: use its address or `localhost`, or set `admin.public_url`",
                host.escape_debug()
            );
            Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, "misdirected", detail))
        }
    }
}

/// Names that a web page cannot make point here, and those that the operator named.
fn is_known(site: &Site, host: &str) -> bool {
    let Ok(authority) = Authority::parse(host, 80) else { return false };
    let bare = authority.host.bare();
    let named = |known: &String| same_host(known, &bare);
    bare.parse::<IpAddr>().is_ok()
        || bare == "localhost"
        || bare.ends_with(".localhost")
        || site.public_host.as_ref().is_some_and(named)
        || site.options.allowed_hosts.iter().any(named)
}

fn same_host(known: &str, bare: &str) -> bool {
    Authority::parse(known, 80).is_ok_and(|known| known.host.bare() == bare)
}

/// Browsers say where a request comes from; programs do not. A form must say it, the API also takes requests of programs.
fn check_source(site: &Site, request: &Request, is_api: bool) -> Result<(), Problem> {
    let fetch_site = request.header(SEC_FETCH_SITE);
    let origin = request.header(header::ORIGIN);
    let foreign = fetch_site.is_some_and(|place| place != "same-origin" && !(is_api && place == "none"))
        || origin.is_some_and(|origin| !is_own_origin(site, request, origin));
    let unknown = fetch_site.is_none() && origin.is_none();
    if foreign || unknown && !is_api {
        let detail = "this request was made by another site, or does not say where it comes from: open the page and try \
                      again, or use the API";
        return Err(Problem::new(StatusCode::FORBIDDEN, "cross_origin", detail));
    }
    Ok(())
}

/// Whether an `Origin` is this site: the host that was asked, or that of `public_url` when something stands in between.
fn is_own_origin(site: &Site, request: &Request, origin: &str) -> bool {
    let Ok(url) = Url::parse(origin) else { return false };
    let Some(host) = url.host_str() else { return false };
    let origin_authority = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let default_port = url.port_or_known_default().unwrap_or(80);
    let asked = request.header(header::HOST).or_else(|| request.uri().authority().map(|authority| authority.as_str()));
    asked.into_iter().chain(site.public_host.as_deref()).any(|own| {
        let (own, origin) = (Authority::parse(own, default_port), Authority::parse(&origin_authority, default_port));
        matches!((own, origin), (Ok(own), Ok(origin)) if own == origin)
    })
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
