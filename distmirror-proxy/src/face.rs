//! Faces: which artifact a request asks for. Pure: request line and `Host` in, names out.
//!
//! Absolute-form and requests inside a CONNECT tunnel are the proxy face: they name an artifact by its own URI.
//! Origin-form is the mirror's own site. No path of the site is reachable under a proxied identity, and the reverse.

pub(crate) mod registry;

use distmirror_core::{Algorithm, ArtifactName, Authority, Digest, Host, Registry, Scheme, Uri, uri::MAX_LENGTH_BYTES};
use http::{HeaderMap, Method, header, request::Parts};

pub use self::registry::{RegistryRequest, Wanted};
use crate::refusal::{Code, Refusal};

/// How a request reached the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Via {
    /// On a connection to the proxy itself.
    Plain,
    /// Inside TLS to the proxy itself, which showed a leaf for this host.
    Secure(Host),
    /// On a connection that was meant for another host and redirected to here, without TLS.
    Redirected,
    /// Inside TLS that is meant for this authority: in a CONNECT tunnel, or redirected to here. The second member is the
    /// name that the client asked for by SNI, if it asked for another one.
    Tunnel(Authority, Option<String>),
}

impl Via {
    /// Whether the client knows that it speaks with a proxy, and may CONNECT.
    pub(crate) fn is_to_the_proxy(&self) -> bool {
        matches!(self, Self::Plain | Self::Secure(_))
    }

    /// Whether a request asks a proxy, and not a site that the client takes for any other.
    pub(crate) fn asks_a_proxy(&self, parts: &Parts) -> bool {
        self.is_to_the_proxy() && parts.uri.scheme().is_some() && !self.is_own_site(parts)
    }

    /// Whether a whole URI is a path of the proxy's own site. HTTP/2 has no other form of asking for one (RFC 9113 section
    /// 8.3.1), and through the proxy clients ask for `https` by CONNECT.
    fn is_own_site(&self, parts: &Parts) -> bool {
        let Self::Secure(own) = self else { return false };
        let is_by_http2 = parts.version == http::Version::HTTP_2 && parts.uri.scheme_str() == Some("https");
        is_by_http2 && parts.uri.host().is_some_and(|host| Host::parse(host).as_ref() == Ok(own))
    }
}

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Face {
    /// An artifact by its name; the first of these that is declared.
    Artifact(Vec<ArtifactName>),
    /// A present artifact by its digest.
    Digest(Digest),
    /// Something of a registry.
    Registry(Box<RegistryRequest>),
    /// The URI at which clients of a registry get their tokens, which may also be that of a file.
    Token(Registry, Uri),
    /// A page of the mirror's own site.
    Site(Page),
}

/// The pages of the mirror's own site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Page {
    /// `/`: where to go from here.
    Welcome,
    /// `/ca.pem`: the certificate of the authority.
    Certificate,
    /// `/setup/` and `/setup/TOOL`: how to point a tool here.
    Setup(String),
    /// `/check`: how the client reaches the mirror.
    Check,
    /// `/healthz`: the process lives.
    Health,
    /// `/readyz`: it can serve.
    Readiness,
    /// `/metrics`: for Prometheus.
    Metrics,
}

/// Decides what a request asks for.
///
/// # Errors
/// `bad_request` when the target or `Host` is malformed, `misdirected` when names contradict each other.
pub(crate) fn identify(parts: &Parts, via: &Via, own_authorities: &[String]) -> Result<Face, Refusal> {
    let length = parts.uri.path_and_query().map_or(0, |path| path.as_str().len());
    if length > MAX_LENGTH_BYTES {
        let detail = format!("the target has {length} bytes; at most {MAX_LENGTH_BYTES} are accepted");
        return Err(Refusal::new(Code::UriTooLong, detail));
    }
    let host = single_host(&parts.headers, parts.version)?;
    match via {
        Via::Tunnel(authority, asked) => tunnelled(parts, authority, asked.as_deref(), host, own_authorities),
        _ if parts.uri.scheme().is_some() => {
            let uri = Uri::parse(&parts.uri.to_string()).map_err(|error| Refusal::bad_request(error.to_string()))?;
            if own_authorities.contains(&uri.authority().to_string()) || via.is_own_site(parts) {
                return site(uri.path_and_query());
            }
            proxied(uri)
        }
        _ if parts.method == Method::OPTIONS && parts.uri.path() == "*" => Ok(Face::Site(Page::Welcome)),
        Via::Redirected => redirected(parts, host, own_authorities),
        Via::Plain | Via::Secure(_) => site(path_of(parts)),
    }
}

fn tunnelled(
    parts: &Parts,
    authority: &Authority,
    asked: Option<&str>,
    host: Option<&str>,
    own_authorities: &[String],
) -> Result<Face, Refusal> {
    let misdirected = |what: &str, name: &str| {
        Refusal::new(Code::Misdirected, format!("{what} `{name}` is not `{authority}`, for which this connection is"))
    };
    if let Some(name) = asked {
        return Err(misdirected("the server name of the TLS handshake", name));
    }
    let target = parts.uri.authority().map(http::uri::Authority::as_str);
    for (what, name) in [("the Host field", host), ("the target", target)] {
        let Some(name) = name else { continue };
        let parsed = Authority::parse(name, Scheme::Https.default_port())
            .map_err(|error| Refusal::bad_request(format!("{what}: {error}")))?;
        if parsed != *authority {
            return Err(misdirected(what, name));
        }
    }
    if parts.uri.scheme_str().is_some_and(|scheme| scheme != "https") {
        return Err(Refusal::new(Code::Misdirected, "inside TLS only https URIs can be asked for"));
    }
    under(Scheme::Https, authority.clone(), parts, own_authorities)
}

/// Without a proxy's form of asking and without TLS, `Host` alone says what is meant.
fn redirected(parts: &Parts, host: Option<&str>, own_authorities: &[String]) -> Result<Face, Refusal> {
    let host = host.ok_or_else(|| Refusal::bad_request("no Host field, which alone says here what host is meant"))?;
    let authority = Authority::parse(host, Scheme::Http.default_port())
        .map_err(|error| Refusal::bad_request(format!("the Host field: {error}")))?;
    under(Scheme::Http, authority, parts, own_authorities)
}

/// The path of a request under the authority that it is for.
fn under(scheme: Scheme, authority: Authority, parts: &Parts, own_authorities: &[String]) -> Result<Face, Refusal> {
    if own_authorities.contains(&authority.to_string()) {
        return site(path_of(parts));
    }
    let uri =
        Uri::from_parts(scheme, authority, path_of(parts)).map_err(|error| Refusal::bad_request(error.to_string()))?;
    proxied(uri)
}

fn path_of(parts: &Parts) -> &str {
    parts.uri.path_and_query().map_or("/", |path| path.as_str())
}

/// Something under its own URI.
fn proxied(uri: Uri) -> Result<Face, Refusal> {
    if registry::is_registry_path(uri.path()) && registry::of_token_end_point(&uri).is_none() {
        let registry = Registry::at(uri.authority(), uri.scheme());
        let target = uri.path_and_query().to_owned();
        return registry::proxied(registry, uri, &target).map(|request| Face::Registry(Box::new(request)));
    }
    Ok(match registry::of_token_end_point(&uri) {
        Some(registry) => Face::Token(registry, uri),
        None => Face::Artifact(vec![uri.into()]),
    })
}

/// RFC 9112 section 3.2: an HTTP/1.1 request has exactly one `Host` field.
fn single_host(fields: &HeaderMap, version: http::Version) -> Result<Option<&str>, Refusal> {
    let mut values = fields.get_all(header::HOST).iter();
    let (first, second) = (values.next(), values.next());
    if second.is_some() {
        return Err(Refusal::bad_request("two Host fields"));
    }
    match first {
        Some(value) => {
            value.to_str().map(Some).map_err(|_| Refusal::bad_request("the Host field has characters that no host has"))
        }
        None if version == http::Version::HTTP_11 => Err(Refusal::bad_request("no Host field")),
        None => Ok(None),
    }
}

/// A path of the mirror's own site.
fn site(path_and_query: &str) -> Result<Face, Refusal> {
    let path = path_and_query.split('?').next().unwrap_or_default();
    if registry::is_registry_path(path) {
        return Ok(Face::Registry(Box::new(registry::at_site(path_and_query))));
    }
    let (first, rest) = path.trim_start_matches('/').split_once('/').unwrap_or((path.trim_start_matches('/'), ""));
    let page = match (first, rest) {
        ("", _) => Page::Welcome,
        ("ca.pem", "") => Page::Certificate,
        ("setup", tool) => Page::Setup(tool.to_owned()),
        ("check", "") => Page::Check,
        ("healthz", "") => Page::Health,
        ("readyz", "") => Page::Readiness,
        ("metrics", "") => Page::Metrics,
        _ => return artifact_path(first, path_and_query),
    };
    Ok(Face::Site(page))
}

/// `/ALGORITHM/HEX`, `/https/HOST/PATH`, `/http/HOST/PATH`, `/HOST/PATH`.
fn artifact_path(first: &str, path_and_query: &str) -> Result<Face, Refusal> {
    let after_first = path_and_query.get(first.len() + 1..).unwrap_or_default();
    if let Some(algorithm) = Algorithm::ALL.into_iter().find(|algorithm| algorithm.name() == first) {
        let digest = Digest::from_hex(algorithm, after_first.trim_start_matches('/'));
        return digest.map(Face::Digest).map_err(Refusal::bad_request);
    }
    let named = |schemes: &[Scheme], host: &str, path: &str| {
        let parse = |scheme: &Scheme| {
            Uri::from_parts(*scheme, Authority::parse(host, scheme.default_port())?, path).map(ArtifactName::File)
        };
        let names: Result<Vec<_>, _> = schemes.iter().map(parse).collect();
        names.map(Face::Artifact).map_err(|error| Refusal::bad_request(error.to_string()))
    };
    let exact = [Scheme::Https, Scheme::Http].into_iter().find(|scheme| scheme.as_str() == first);
    if let Some(scheme) = exact {
        let rest = after_first.trim_start_matches('/');
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        return named(&[scheme], &rest[..end], &rest[end..]);
    }
    let host = first.split('?').next().unwrap_or_default();
    if host.contains(['.', ':']) {
        return named(&[Scheme::Https, Scheme::Http], host, after_first);
    }
    Err(Refusal::new(Code::NoSuchPage, format!("the mirror has no page `/{first}`; `/setup/` says how to use it")))
}

#[cfg(test)]
mod tests {
    use http::{Request, Version};

    use super::*;

    fn ask(via: &Via, target: &str, host: &str) -> Result<Face, Refusal> {
        let (parts, ()) = Request::builder().uri(target).header("host", host).body(()).unwrap().into_parts();
        identify(&parts, via, &["mirror.test:3128".to_owned()])
    }

    fn names(face: Result<Face, Refusal>) -> Vec<String> {
        match face {
            Ok(Face::Artifact(names)) => names.iter().map(ToString::to_string).collect(),
            other => panic!("{other:?}"),
        }
    }

    fn tunnel(authority: &str) -> Via {
        Via::Tunnel(Authority::parse(authority, 443).unwrap(), None)
    }

    #[test]
    fn the_proxy_face() {
        assert_eq!(names(ask(&Via::Plain, "http://A.test:80/x?y", "other.test")), ["http://a.test/x?y"]);
        assert_eq!(names(ask(&tunnel("a.test:443"), "/x", "a.test")), ["https://a.test/x"]);
        assert_eq!(names(ask(&tunnel("a.test:8443"), "/x", "a.test:8443")), ["https://a.test:8443/x"]);
        assert_eq!(names(ask(&tunnel("[::1]:443"), "/x", "[::1]")), ["https://[::1]/x"]);
    }

    #[test]
    fn redirected_requests() {
        for (target, host, expected) in [
            ("/x?y", "A.test", "http://a.test/x?y"),
            ("/x", "a.test:8080", "http://a.test:8080/x"),
            ("/healthz", "a.test", "http://a.test/healthz"),
            ("/https/b.test/x", "a.test", "http://a.test/https/b.test/x"),
            ("http://a.test/x", "b.test", "http://a.test/x"),
        ] {
            assert_eq!(names(ask(&Via::Redirected, target, host)), [expected], "{target} {host}");
        }
        assert_eq!(ask(&Via::Redirected, "/check", "mirror.test:3128").unwrap(), Face::Site(Page::Check));
        assert_eq!(ask(&Via::Redirected, "/x", "u@a.test").unwrap_err().code, Code::BadRequest);
        let (mut parts, ()) = Request::get("/x").body(()).unwrap().into_parts();
        parts.version = Version::HTTP_10;
        assert_eq!(identify(&parts, &Via::Redirected, &[]).unwrap_err().code, Code::BadRequest, "nobody is meant");
    }

    #[test]
    fn inside_tls_to_the_proxy_itself() {
        let via = Via::Secure(Host::parse("mirror.test").unwrap());
        assert_eq!(ask(&via, "/check", "anything").unwrap(), Face::Site(Page::Check));
        assert_eq!(names(ask(&via, "http://a.test/check", "a.test")), ["http://a.test/check"]);
        let by_http2 = |target: &str| {
            let (parts, ()) = Request::get(target).version(Version::HTTP_2).body(()).unwrap().into_parts();
            identify(&parts, &via, &[])
        };
        assert_eq!(by_http2("https://mirror.test:3129/check").unwrap(), Face::Site(Page::Check));
        assert_eq!(names(by_http2("http://mirror.test/check")), ["http://mirror.test/check"]);
        assert_eq!(names(by_http2("https://a.test/check")), ["https://a.test/check"]);
    }

    #[test]
    fn names_that_contradict_each_other() {
        for (via, target, host) in [
            (tunnel("a.test:443"), "/x", "b.test"),
            (tunnel("a.test:443"), "/x", "a.test:8443"),
            (tunnel("a.test:443"), "https://b.test/x", "a.test"),
            (tunnel("a.test:443"), "http://a.test:443/x", "a.test"),
            (Via::Tunnel(Authority::parse("a.test", 443).unwrap(), Some("b.test".into())), "/x", "a.test"),
        ] {
            assert_eq!(ask(&via, target, host).unwrap_err().code, Code::Misdirected, "{via:?} {target} {host}");
        }
    }

    #[test]
    fn the_site() {
        for (target, face) in [
            ("/", Face::Site(Page::Welcome)),
            ("/ca.pem", Face::Site(Page::Certificate)),
            ("/setup/", Face::Site(Page::Setup(String::new()))),
            ("/setup/curl", Face::Site(Page::Setup("curl".into()))),
            ("/check?x", Face::Site(Page::Check)),
            ("http://mirror.test:3128/check", Face::Site(Page::Check)),
        ] {
            assert_eq!(ask(&Via::Plain, target, "h").unwrap(), face, "{target}");
        }
        assert_eq!(names(ask(&Via::Plain, "http://h.test/healthz", "h.test")), ["http://h.test/healthz"]);
        assert_eq!(names(ask(&tunnel("h.test:443"), "/healthz", "h.test")), ["https://h.test/healthz"]);
    }

    #[test]
    fn artifacts_by_path() {
        for (target, expected) in [
            ("/a.test/x?y", vec!["https://a.test/x?y", "http://a.test/x?y"]),
            ("/a.test", vec!["https://a.test/", "http://a.test/"]),
            ("/localhost:8000/x", vec!["https://localhost:8000/x", "http://localhost:8000/x"]),
            ("/https/a.test//x", vec!["https://a.test//x"]),
            ("/http/host/x", vec!["http://host/x"]),
        ] {
            assert_eq!(names(ask(&Via::Plain, target, "h")), expected, "{target}");
        }
        assert!(matches!(ask(&Via::Plain, &format!("/sha256/{}", "0".repeat(64)), "h"), Ok(Face::Digest(_))));
        for (target, code) in [
            ("/sha256/zz", Code::BadRequest),
            ("/nowhere/x", Code::NoSuchPage),
            ("/https/", Code::BadRequest),
            ("/..%2f/x", Code::BadRequest),
        ] {
            assert_eq!(ask(&Via::Plain, target, "h").unwrap_err().code, code, "{target}");
        }
    }

    #[test]
    fn exactly_one_host() {
        let (mut parts, ()) = Request::get("http://a.test/").body(()).unwrap().into_parts();
        assert_eq!(identify(&parts, &Via::Plain, &[]).unwrap_err().code, Code::BadRequest);
        parts.version = Version::HTTP_10;
        assert!(identify(&parts, &Via::Plain, &[]).is_ok());
        parts.headers.append("host", "a.test".parse().unwrap());
        parts.headers.append("host", "a.test".parse().unwrap());
        assert_eq!(identify(&parts, &Via::Plain, &[]).unwrap_err().code, Code::BadRequest);
    }
}
