//! Container images: what they are called, which platforms of them are wanted, and what their documents say.
//!
//! Everything here is pure. References are in [`reference`](self), platforms in [`platform`](self), the documents of the OCI
//! image specification (and their Docker forerunners) in [`manifest`] and [`config`].

pub mod config;
pub mod manifest;
mod platform;
mod reference;

use std::fmt;

pub use self::{
    platform::{Platform, PlatformChoice},
    reference::ImageReference,
};
use crate::{Authority, Digest, Scheme, name::NameKey};

/// A registry as people write it: `docker.io`, `quay.io`, `127.0.0.1:5000`. The default port is dropped, and all spellings of
/// `docker.io` are one. What a registry serves is addressed by digest, so that the scheme does not distinguish.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Registry(String);

impl Registry {
    /// Reads a host with or without a port, as it stands in a reference, in `?ns=` or in a path.
    ///
    /// # Errors
    /// When host or port are malformed.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::with_scheme(text, Scheme::Https)
    }

    /// The registry that is asked under this authority.
    pub fn at(authority: &Authority, scheme: Scheme) -> Self {
        let https = authority.port == Scheme::Https.default_port();
        let text = if https { authority.for_scheme(Scheme::Https) } else { authority.for_scheme(scheme) };
        let is_docker_hub = DOCKER_HUB_NAMES.contains(&text.as_str());
        Self(if is_docker_hub { DOCKER_HUB.to_owned() } else { text })
    }

    /// The canonical name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where it is reached, port included: Docker Hub is known by a name at which it does not serve.
    pub fn upstream(&self, scheme: Scheme) -> Authority {
        let host = if self.0 == DOCKER_HUB { DOCKER_HUB_HOST } else { &self.0 };
        Authority::parse(host, scheme.default_port()).expect("a registry is made from an authority")
    }

    /// Whether the first part of a path names a registry, by the rule of the Docker reference grammar.
    pub fn is_named_by(segment: &str) -> bool {
        segment == "localhost" || segment.contains(['.', ':']) || segment.bytes().any(|byte| byte.is_ascii_uppercase())
    }

    fn with_scheme(text: &str, scheme: Scheme) -> Result<Self, String> {
        let authority = Authority::parse(text, scheme.default_port()).map_err(|error| error.to_string())?;
        Ok(Self::at(&authority, scheme))
    }
}

impl fmt::Display for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A repository of a registry. Prints as `REGISTRY/PATH`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository {
    registry: Registry,
    path: String,
}

impl Repository {
    /// A repository by its path in the registry (the OCI distribution specification's `<name>`). A path of one part at
    /// `docker.io` stands below `library/`.
    ///
    /// # Errors
    /// When the path is not of the form of the specification.
    pub fn new(registry: Registry, path: &str) -> Result<Self, String> {
        check_path(path)?;
        let short = registry.0 == DOCKER_HUB && !path.contains('/');
        let path = if short { format!("library/{path}") } else { path.to_owned() };
        Ok(Self { registry, path })
    }

    /// The registry.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The path in it, such as `library/debian`.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.path)
    }
}

/// A digest in a repository: the name of an image, or of any other part of one. Prints as `REGISTRY/PATH@ALGORITHM:HEX`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ImageName {
    repository: Repository,
    digest: Digest,
    text: String,
}

impl ImageName {
    /// A digest in a repository.
    pub fn new(repository: Repository, digest: Digest) -> Self {
        let text = format!("{repository}@{digest}");
        Self { repository, digest, text }
    }

    /// Reads a reference that has a digest; a tag in it is dropped.
    ///
    /// # Errors
    /// When it is no reference or has no digest.
    pub fn parse(text: &str) -> Result<Self, String> {
        let reference = ImageReference::parse(text)?;
        let digest = reference.digest.ok_or_else(|| format!("`{}` names no digest", text.escape_debug()))?;
        Ok(Self::new(reference.repository, digest))
    }

    /// Where it is.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The digest of the bytes.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The key of the manifest that has this digest; also that of the image, if it was declared.
    pub fn manifest_key(&self) -> NameKey {
        NameKey::of("image", &self.text)
    }

    /// The key of the config or layer that has this digest.
    pub fn blob_key(&self) -> NameKey {
        NameKey::of("blob", &self.text)
    }

    /// The key of all that refers to the manifest that has this digest.
    pub fn subject_key(&self) -> NameKey {
        NameKey::of("subject", &self.text)
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The `<name>` of the OCI distribution specification, section "Pulling manifests".
fn check_path(path: &str) -> Result<(), String> {
    let component = |text: &str| {
        let bytes = text.as_bytes();
        let edge = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        let separators = text.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
        edge(bytes.first())
            && edge(bytes.last())
            && separators.into_iter().all(|s| matches!(s, "" | "." | "_" | "__") || s.bytes().all(|byte| byte == b'-'))
    };
    if path.is_empty() {
        return Err("names no repository: write `REGISTRY/REPOSITORY@sha256:HEX`".to_owned());
    }
    if path.len() > MAX_PATH_CHARACTERS || !path.split('/').all(component) {
        return Err(format!(
            "`{}` is not a repository: parts of lower-case letters and digits, joined by `/`, with single `.`, `_`, `__` or \
             dashes inside, at most {MAX_PATH_CHARACTERS} characters in all",
            path.escape_debug()
        ));
    }
    Ok(())
}

/// The longest repository path: what registries and clients agree on, with the registry's name.
const MAX_PATH_CHARACTERS: usize = 255;

const DOCKER_HUB: &str = "docker.io";
/// Where Docker Hub really serves.
const DOCKER_HUB_HOST: &str = "registry-1.docker.io";
const DOCKER_HUB_NAMES: [&str; 4] = [DOCKER_HUB, DOCKER_HUB_HOST, "index.docker.io", "registry.hub.docker.com"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_are_known_by_one_name() {
        for (text, name) in [
            ("quay.io", "quay.io"),
            ("QUAY.io:443", "quay.io"),
            ("h.test:80", "h.test:80"),
            ("127.0.0.1:5000", "127.0.0.1:5000"),
            ("[::1]:5000", "[::1]:5000"),
            ("docker.io", "docker.io"),
            ("index.docker.io", "docker.io"),
            ("Registry-1.Docker.io:443", "docker.io"),
            ("docker.io:5000", "docker.io:5000"),
        ] {
            let registry = Registry::parse(text).unwrap();
            assert_eq!(registry.as_str(), name, "{text}");
            assert_eq!(Registry::parse(registry.as_str()).unwrap(), registry);
        }
        for bad in ["", "a b", "h.test:0", "h.test:x", "u@h.test", "h.test/x", "-.:"] {
            assert!(Registry::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_scheme_only_decides_which_port_goes_without_saying() {
        for (authority, scheme, name) in [
            ("h.test:443", Scheme::Https, "h.test"),
            ("h.test:80", Scheme::Http, "h.test"),
            ("h.test:80", Scheme::Https, "h.test:80"),
            ("h.test:443", Scheme::Http, "h.test"),
            ("h.test:5000", Scheme::Http, "h.test:5000"),
        ] {
            let authority = Authority::parse(authority, 443).unwrap();
            assert_eq!(Registry::at(&authority, scheme).as_str(), name, "{authority} {scheme:?}");
        }
        let hub = Registry::parse("docker.io").unwrap();
        assert_eq!(hub.upstream(Scheme::Https).to_string(), "registry-1.docker.io:443");
        assert_eq!(Registry::parse("h.test").unwrap().upstream(Scheme::Http).to_string(), "h.test:80");
    }

    #[test]
    fn repositories() {
        let quay = || Registry::parse("quay.io").unwrap();
        for good in ["a", "a/b-c/d_e/f.g/h__i/0", "a--b", "a---b/1"] {
            assert_eq!(Repository::new(quay(), good).unwrap().path(), good);
        }
        for bad in
            ["", "A", "a//b", "/a", "a/", "a/../b", ".a", "a.", "a._b", "a___b", "-a", "a-", "a b", "ä", "a:b", "a@b"]
        {
            assert!(Repository::new(quay(), bad).is_err(), "{bad}");
        }
        assert!(Repository::new(quay(), &"a".repeat(256)).is_err());
        let hub = Registry::parse("docker.io").unwrap();
        assert_eq!(Repository::new(hub, "debian").unwrap().to_string(), "docker.io/library/debian");
    }

    #[test]
    fn one_digest_has_a_key_for_each_thing_that_it_can_be() {
        let name = ImageName::parse(&format!("quay.io/a/b:tag@sha256:{}", "0".repeat(64))).unwrap();
        assert_eq!(name.as_str(), format!("quay.io/a/b@sha256:{}", "0".repeat(64)));
        let keys = [name.manifest_key(), name.blob_key(), name.subject_key()];
        assert!(keys[0] != keys[1] && keys[1] != keys[2] && keys[0] != keys[2]);
        assert_eq!(crate::ArtifactName::Image(name.clone()).key(), name.manifest_key());
    }
}
