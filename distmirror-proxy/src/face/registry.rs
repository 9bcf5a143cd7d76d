//! What a request for `/v2/` asks of a registry: the pull half of the OCI distribution specification. Pure.
//!
//! The same registry is reached under its own name (through the proxy), at the mirror's own `/v2/` with `?ns=REGISTRY` as
//! containerd writes it, and at `/v2/REGISTRY/REPOSITORY/` as podman does.

use distmirror_core::{Digest, ImageName, Registry, Repository, Scheme, Uri};

use crate::refusal::{Code, Refusal};

/// What is asked of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryRequest {
    /// The registry, under its canonical name; `None` for the mirror itself, which answers only `/v2/`.
    pub registry: Option<Registry>,
    /// What of it.
    pub wanted: Wanted,
    /// Whether the registry was named by `?ns=`, which the answer then repeats.
    pub by_namespace: bool,
    /// The URI as that of a file, under a proxied identity: somebody may have declared just that.
    pub file: Option<Uri>,
}

/// What is asked of a registry, by its end points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// end-1: whether it speaks this protocol.
    Support,
    /// end-3: a manifest by digest.
    Manifest(ImageName),
    /// end-3: a manifest by tag.
    Tag(Repository, String),
    /// end-2: a config or layer.
    Blob(ImageName),
    /// end-8: the tags of a repository.
    Tags(Repository),
    /// end-12: what refers to a manifest, and the only type that is wanted.
    Referrers(ImageName, Option<String>),
    /// Something that a registry may be asked and this one does not do.
    Other,
    /// What is malformed, and by which code it is told.
    Malformed(Code, String),
}

/// A request under a registry's own name. `target` is its path and query.
pub(super) fn proxied(registry: Registry, file: Uri, target: &str) -> Result<RegistryRequest, Refusal> {
    let (path, query) = split(target);
    if let Some(namespace) = field(query, "ns")
        && Registry::parse(&namespace).as_ref() != Ok(&registry)
    {
        let detail = format!("`ns={}` is not `{registry}`, which was asked", namespace.escape_debug());
        return Err(Refusal::new(Code::Misdirected, detail).of_registry());
    }
    let wanted = wanted(&registry, path, query);
    Ok(RegistryRequest { registry: Some(registry), wanted, by_namespace: false, file: Some(file) })
}

/// A request at the mirror's own site. Without a registry it is one for `docker.io`, as Docker asks its mirrors.
pub(super) fn at_site(target: &str) -> RegistryRequest {
    let (path, query) = split(target);
    let request = |registry, wanted, by_namespace| RegistryRequest { registry, wanted, by_namespace, file: None };
    if let Some(namespace) = field(query, "ns") {
        return match Registry::parse(&namespace) {
            Ok(registry) => request(Some(registry.clone()), wanted(&registry, path, query), true),
            Err(problem) => request(None, Wanted::Malformed(Code::NameInvalid, problem), false),
        };
    }
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    if path.is_empty() {
        return request(None, Wanted::Support, false);
    }
    let (registry, path) = if Registry::is_named_by(first) { (first, rest) } else { ("docker.io", path) };
    match Registry::parse(registry) {
        Ok(registry) => request(Some(registry.clone()), wanted(&registry, path, query), false),
        Err(problem) => request(None, Wanted::Malformed(Code::NameInvalid, problem), false),
    }
}

/// The registry whose clients get their tokens at this URI, if it is one of those that they know by heart.
pub(super) fn of_token_end_point(uri: &Uri) -> Option<Registry> {
    const ELSEWHERE: [(&str, &str, &str); 3] = [
        ("auth.docker.io", "/token", "docker.io"),
        ("gitlab.com", "/jwt/auth", "registry.gitlab.com"),
        ("docker-auth.elastic.co", "/auth", "docker.elastic.co"),
    ];
    const OWN: [&str; 8] =
        ["/token", "/token/", "/v2/token", "/v2/auth", "/oauth2/token", "/proxy_auth", "/service/token", "/jwt/auth"];
    let host = uri.authority().for_scheme(uri.scheme());
    let elsewhere = ELSEWHERE.iter().find(|(name, path, _)| *name == host && *path == uri.path());
    match elsewhere {
        Some((_, _, registry)) => Registry::parse(registry).ok(),
        None => OWN.contains(&uri.path()).then(|| Registry::at(uri.authority(), uri.scheme())),
    }
}

/// Whether a path is the business of a registry.
pub(super) fn is_registry_path(path: &str) -> bool {
    path == "/v2" || path.starts_with("/v2/")
}

/// The URI by which a miss of a tag is put on record: the one under which the registry itself has it.
pub(crate) fn uri_of_tag(repository: &Repository, tag: &str) -> Option<Uri> {
    let authority = repository.registry().upstream(Scheme::Https);
    Uri::from_parts(Scheme::Https, authority, &format!("/v2/{}/manifests/{tag}", repository.path())).ok()
}

/// What follows `/v2/`, and the query.
fn split(target: &str) -> (&str, &str) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    (path.strip_prefix("/v2").unwrap_or(path).trim_start_matches('/'), query)
}

fn wanted(registry: &Registry, path: &str, query: &str) -> Wanted {
    match path.trim_end_matches('/') {
        "" => return Wanted::Support,
        "_catalog" => return Wanted::Other,
        _ => {}
    }
    if let Some(path) = path.strip_suffix("/tags/list") {
        return in_repository(registry, path, |repository| Ok(Wanted::Tags(repository)));
    }
    let end_point = ["/manifests/", "/blobs/", "/referrers/"].into_iter().find_map(|end_point| {
        let (path, reference) = path.rsplit_once(end_point)?;
        Some((path, end_point, unescape(reference)))
    });
    let Some((path, end_point, reference)) = end_point else { return Wanted::Other };
    in_repository(registry, path, |repository| match end_point {
        "/manifests/" if is_tag(&reference) => Ok(Wanted::Tag(repository, reference.clone())),
        "/manifests/" => Ok(Wanted::Manifest(ImageName::new(repository, digest(&reference)?))),
        "/blobs/" => Ok(Wanted::Blob(ImageName::new(repository, digest(&reference)?))),
        _ => Ok(Wanted::Referrers(ImageName::new(repository, digest(&reference)?), field(query, "artifactType"))),
    })
}

fn in_repository(registry: &Registry, path: &str, wanted: impl Fn(Repository) -> Result<Wanted, String>) -> Wanted {
    match Repository::new(registry.clone(), path) {
        Ok(repository) => wanted(repository).unwrap_or_else(|problem| Wanted::Malformed(Code::DigestInvalid, problem)),
        Err(problem) => Wanted::Malformed(Code::NameInvalid, problem),
    }
}

/// A digest exactly as the specification has it: the algorithm and the digits in lower case.
fn digest(text: &str) -> Result<Digest, String> {
    let problem = |why: &str| format!("`{}` is not a digest: {why}", text.escape_debug());
    let digest: Digest = text.parse().map_err(|why: String| problem(&why))?;
    if !digest.algorithm().names_content() || digest.to_string() != text {
        return Err(problem("write `sha256:` or `sha512:` and lower-case hexadecimal digits"));
    }
    Ok(digest)
}

fn is_tag(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.bytes().next().is_some_and(is_word)
        && text.len() <= 128
        && text.bytes().all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'))
}

/// The value of a field of a query, unescaped.
fn field(query: &str, name: &str) -> Option<String> {
    let value = query.split('&').find_map(|field| field.strip_prefix(name)?.strip_prefix('='))?;
    Some(unescape(&value.replace('+', " ")))
}

/// Undoes `%xx`; what is no escape stays as it is.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let escaped = after.get(..2).filter(|_| *first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        match escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    fn quay() -> Registry {
        Registry::parse("quay.io").unwrap()
    }

    /// What is wanted, in a form that is easy to compare.
    fn told(wanted: &Wanted) -> String {
        match wanted {
            Wanted::Support => "support".to_owned(),
            Wanted::Manifest(name) => format!("manifest {name}"),
            Wanted::Tag(repository, tag) => format!("tag {repository} {tag}"),
            Wanted::Blob(name) => format!("blob {name}"),
            Wanted::Tags(repository) => format!("tags {repository}"),
            Wanted::Referrers(name, of_type) => format!("referrers {name} {of_type:?}"),
            Wanted::Other => "other".to_owned(),
            Wanted::Malformed(code, _) => format!("{code:?}"),
        }
        .replace(HEX, "HEX")
    }

    #[test]
    fn end_points_under_the_registrys_own_name() {
        for (target, expected) in [
            ("/v2", "support"),
            ("/v2/", "support"),
            ("/v2/a/b/manifests/sha256:HEX", "manifest quay.io/a/b@sha256:HEX"),
            ("/v2/a/b/manifests/sha256%3AHEX", "manifest quay.io/a/b@sha256:HEX"),
            ("/v2/a/manifests/b/manifests/sha256:HEX?ns=quay.io", "manifest quay.io/a/manifests/b@sha256:HEX"),
            ("/v2/a/b/manifests/latest", "tag quay.io/a/b latest"),
            ("/v2/a/b/manifests/sha256-HEX", "tag quay.io/a/b sha256-HEX"),
            ("/v2/a/b/blobs/sha256:HEX", "blob quay.io/a/b@sha256:HEX"),
            ("/v2/a/b/tags/list?n=1", "tags quay.io/a/b"),
            ("/v2/a/b/referrers/sha256:HEX", "referrers quay.io/a/b@sha256:HEX None"),
            (
                "/v2/a/b/referrers/sha256:HEX?x&artifactType=a%2Fb%2Bc",
                "referrers quay.io/a/b@sha256:HEX Some(\"a/b+c\")",
            ),
            ("/v2/_catalog", "other"),
            ("/v2/a/b", "other"),
            ("/v2/a/b/", "other"),
            ("/v2/A/b/manifests/sha256:HEX", "NameInvalid"),
            ("/v2//manifests/sha256:HEX", "NameInvalid"),
            ("/v2/a/b/manifests/", "DigestInvalid"),
            ("/v2/a/b/manifests/SHA256:HEX", "DigestInvalid"),
            ("/v2/a/b/manifests/sha256:abc", "DigestInvalid"),
            ("/v2/a/b/manifests/md5:00000000000000000000000000000000", "DigestInvalid"),
            ("/v2/a/b/blobs/latest", "DigestInvalid"),
            ("/v2/a/b/blobs/uploads/", "NameInvalid"),
            ("/v2/a/b/blobs/sha256:../../x", "NameInvalid"),
            ("/v2/a/b/referrers/latest", "DigestInvalid"),
        ] {
            let target = target.replace("HEX", HEX);
            let file = Uri::parse("https://quay.io/v2/").unwrap();
            let request = proxied(quay(), file, &target).unwrap();
            // What is malformed may be told by either code, as long as it is told.
            let told = told(&request.wanted);
            let malformed = |text: &str| matches!(text, "NameInvalid" | "DigestInvalid" | "other");
            assert!(told == expected || (malformed(&told) && malformed(expected)), "{target}: {told}");
        }
        let file = Uri::parse("https://quay.io/v2/").unwrap();
        assert_eq!(proxied(quay(), file, "/v2/?ns=docker.io").unwrap_err().code, Code::Misdirected);
    }

    #[test]
    fn registries_at_the_mirrors_own_site() {
        for (target, registry, expected, by_namespace) in [
            ("/v2/", None, "support", false),
            ("/v2/?ns=quay.io", Some("quay.io"), "support", true),
            ("/v2/a/b/blobs/sha256:HEX?ns=QUAY.io%3A443", Some("quay.io"), "blob quay.io/a/b@sha256:HEX", true),
            (
                "/v2/library/debian/manifests/sha256:HEX?ns=docker.io",
                Some("docker.io"),
                "manifest docker.io/library/debian@sha256:HEX",
                true,
            ),
            ("/v2/quay.io/a/b/blobs/sha256:HEX", Some("quay.io"), "blob quay.io/a/b@sha256:HEX", false),
            (
                "/v2/127.0.0.1:5000/a/blobs/sha256:HEX",
                Some("127.0.0.1:5000"),
                "blob 127.0.0.1:5000/a@sha256:HEX",
                false,
            ),
            ("/v2/quay.io/", Some("quay.io"), "support", false),
            (
                "/v2/debian/manifests/sha256:HEX",
                Some("docker.io"),
                "manifest docker.io/library/debian@sha256:HEX",
                false,
            ),
            ("/v2/a/b/tags/list", Some("docker.io"), "tags docker.io/a/b", false),
            ("/v2/?ns=a b", None, "NameInvalid", false),
            ("/v2/h.test:x/a/tags/list", None, "NameInvalid", false),
        ] {
            let request = at_site(&target.replace("HEX", HEX));
            assert_eq!(request.registry.as_ref().map(Registry::as_str), registry, "{target}");
            assert_eq!((told(&request.wanted).as_str(), request.by_namespace), (expected, by_namespace), "{target}");
        }
    }

    #[test]
    fn token_end_points() {
        for (uri, registry) in [
            ("https://auth.docker.io/token?service=registry.docker.io", Some("docker.io")),
            ("https://ghcr.io/token", Some("ghcr.io")),
            ("https://quay.io/v2/auth?x", Some("quay.io")),
            ("https://gitlab.com/jwt/auth", Some("registry.gitlab.com")),
            ("http://127.0.0.1:5000/token", Some("127.0.0.1:5000")),
            ("https://quay.io/tokens", None),
        ] {
            let found = of_token_end_point(&uri.parse().unwrap());
            assert_eq!(found.as_ref().map(Registry::as_str), registry, "{uri}");
        }
    }
}
