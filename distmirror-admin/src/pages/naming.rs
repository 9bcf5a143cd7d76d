//! How pages show what artifacts are called: which part tells them apart, what leads up to it, what follows. Pure.

use distmirror_core::{ImageReference, Registry, Repository, Uri};

/// `image` or `file`: the name of a file is a URI, and that of an image has no scheme.
pub(super) fn kind(name: &str) -> &'static str {
    if name.contains("://") { "file" } else { "image" }
}

/// The upstream host or registry, as lists filter by it.
pub(super) fn host(name: &str) -> String {
    match kind(name) {
        "image" => name.split('/').next().unwrap_or_default().to_owned(),
        _ => Uri::parse(name).map(|uri| uri.authority().for_scheme(uri.scheme())).unwrap_or_default(),
    }
}

/// What leads up to the last part of the path, that part, and what follows: the query of a file, the digest of an image.
pub(super) fn parts(name: &str) -> [&str; 3] {
    let mark = if kind(name) == "image" { '@' } else { '?' };
    let (path, rest) = name.split_at(name.find(mark).unwrap_or(name.len()));
    let start = path.trim_end_matches('/').rfind('/').map_or(0, |slash| slash + 1);
    let (stem, leaf) = path.split_at(start);
    [stem, leaf, rest]
}

/// As much of a digest as tells it apart from others on a page.
pub(super) fn short(digest: &str) -> &str {
    let hex = digest.find(':').map_or(0, |colon| colon + 1);
    digest.get(..hex + SHORT_HEX_CHARACTERS).unwrap_or(digest)
}

/// The reference with a tag that is meant by the URI at which a registry has its manifest. No tag can be declared, but what
/// it names can.
pub(super) fn reference_of_tag(uri: &str) -> Option<String> {
    let uri = Uri::parse(uri).ok()?;
    let (path, tag) = uri.path().strip_prefix("/v2/")?.rsplit_once("/manifests/")?;
    let repository = Repository::new(Registry::at(uri.authority(), uri.scheme()), path).ok()?;
    let reference = ImageReference::parse(&format!("{repository}:{tag}")).ok()?;
    (reference.digest.is_none() && reference.tag.is_some()).then(|| reference.to_string())
}

const SHORT_HEX_CHARACTERS: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_name() {
        for (name, expected) in [
            ("http://h/a/b.tar.gz", ["http://h/a/", "b.tar.gz", ""]),
            ("http://h/a/b/", ["http://h/a/", "b/", ""]),
            ("http://h/a/b?c=d/e", ["http://h/a/", "b", "?c=d/e"]),
            ("http://h/a@b", ["http://h/", "a@b", ""]),
            ("http://h/", ["http://", "h/", ""]),
            ("docker.io/library/debian@sha256:0f", ["docker.io/library/", "debian", "@sha256:0f"]),
            ("127.0.0.1:5000/a@sha256:0f", ["127.0.0.1:5000/", "a", "@sha256:0f"]),
        ] {
            assert_eq!(parts(name), expected);
        }
    }

    #[test]
    fn hosts() {
        for (name, expected) in [
            ("https://h.test:8443/x", "h.test:8443"),
            ("http://h.test:80/x", "h.test"),
            ("127.0.0.1:5000/a/b@sha256:0f", "127.0.0.1:5000"),
            ("", ""),
        ] {
            assert_eq!(host(name), expected);
        }
    }

    #[test]
    fn short_digests() {
        for (digest, expected) in [
            ("sha256:0123456789abcdef", "sha256:0123456789ab"),
            ("@sha512:0123456789abcdef", "@sha512:0123456789ab"),
            ("sha256:0123", "sha256:0123"),
            ("", ""),
            ("ääääääääääääää", "ääääää"),
        ] {
            assert_eq!(short(digest), expected);
        }
    }

    #[test]
    fn misses_of_tags() {
        for (uri, expected) in [
            ("https://registry-1.docker.io/v2/library/debian/manifests/12", Some("docker.io/library/debian:12")),
            ("https://quay.io/v2/a/b/manifests/latest?ns=quay.io", Some("quay.io/a/b:latest")),
            ("http://127.0.0.1:5000/v2/team/tool/manifests/v1.0", Some("127.0.0.1:5000/team/tool:v1.0")),
            ("https://quay.io/v2/manifests/manifests/x", Some("quay.io/manifests:x")),
            ("https://quay.io/v2/a/manifests/sha256:0f", None),
            ("https://quay.io/v2/a/manifests/", None),
            ("https://quay.io/v2/A/manifests/x", None),
            ("https://quay.io/v2/a/manifests/x@y", None),
            ("https://quay.io/v2/a/tags/list", None),
            ("https://quay.io/a.tar.gz", None),
            ("nonsense", None),
        ] {
            assert_eq!(reference_of_tag(uri).as_deref(), expected, "{uri}");
        }
    }
}
