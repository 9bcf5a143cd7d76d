//! References to images as people paste them, by the grammar that Docker began and everybody else follows.

use std::fmt;

use super::{Registry, Repository};
use crate::{Digest, Scheme};

/// A reference to an image, canonical by construction.
///
/// # Examples
/// ```
/// use distmirror_core::ImageReference;
///
/// let reference = ImageReference::parse("debian:12")?;
/// assert_eq!(reference.to_string(), "docker.io/library/debian:12");
/// assert!(reference.digest.is_none());
/// # Ok::<(), String>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageReference {
    /// The scheme, where one was written: how upstream is to be reached.
    pub scheme: Option<Scheme>,
    /// Where the image is.
    pub repository: Repository,
    /// The tag, where one was written. It names whatever it names today.
    pub tag: Option<String>,
    /// The digest, where one was written.
    pub digest: Option<Digest>,
}

impl ImageReference {
    /// Reads `[SCHEME://][REGISTRY/]REPOSITORY[:TAG][@DIGEST]`. Without a registry it is one of `docker.io`.
    ///
    /// # Errors
    /// What is wrong with it, and how it is written.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("is missing: write `REGISTRY/REPOSITORY@sha256:HEX`".to_owned());
        }
        if let Some(bad) = text.chars().find(|c| !c.is_ascii_graphic()) {
            return Err(format!("has `{}`, which stands in no reference", bad.escape_unicode()));
        }
        let (scheme, rest) = split_scheme(text)?;
        if rest.split_once('/').is_some_and(|(first, _)| first.contains('@')) {
            return Err(
                "has a `@` before its first `/`: user information is refused, configure fetch.credentials".to_owned()
            );
        }
        let (name, digest) = match rest.split_once('@') {
            Some((name, digest)) => (name, Some(parse_digest(digest)?)),
            None => (rest, None),
        };
        let (registry, path) = split_registry(name, scheme.is_some());
        let registry = Registry::with_scheme(registry, scheme.unwrap_or(Scheme::Https))?;
        let (path, tag) = match path.rsplit_once(':') {
            Some((path, tag)) => (path, Some(parse_tag(tag)?)),
            None => (path, None),
        };
        Ok(Self { scheme, repository: Repository::new(registry, path)?, tag, digest })
    }
}

impl fmt::Display for ImageReference {
    /// Without the scheme, which is no part of the name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.repository.fmt(f)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        self.digest.iter().try_for_each(|digest| write!(f, "@{digest}"))
    }
}

/// A digest by which content can be declared and addressed (OCI image specification, "Registered Algorithms").
///
/// # Errors
/// When it is not `sha256:` or `sha512:` with the right number of hexadecimal digits.
fn parse_digest(text: &str) -> Result<Digest, String> {
    let bad = |problem: &str| format!("`{}` is not a digest: {problem}", text.escape_debug());
    let digest: Digest = text.parse().map_err(|problem: String| bad(&problem))?;
    if !digest.algorithm().names_content() {
        return Err(bad("images are named by sha256 or sha512"));
    }
    Ok(digest)
}

fn split_scheme(text: &str) -> Result<(Option<Scheme>, &str), String> {
    let Some((scheme, rest)) = text.split_once("://") else { return Ok((None, text)) };
    match scheme.to_ascii_lowercase().as_str() {
        "https" => Ok((Some(Scheme::Https), rest)),
        "http" => Ok((Some(Scheme::Http), rest)),
        // As skopeo writes it.
        "docker" => Ok((None, rest)),
        _ => {
            Err(format!("scheme `{}` is none of a registry: write `https://`, or leave it out", scheme.escape_debug()))
        }
    }
}

/// The registry and what follows it. After a scheme the first part is always the registry.
fn split_registry(name: &str, has_scheme: bool) -> (&str, &str) {
    match name.split_once('/') {
        Some((first, rest)) if has_scheme || Registry::is_named_by(first) => (first, rest),
        None if has_scheme => (name, ""),
        _ => (super::DOCKER_HUB, name),
    }
}

fn parse_tag(tag: &str) -> Result<String, String> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let good = tag.bytes().next().is_some_and(is_word)
        && tag.bytes().all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'))
        && tag.len() <= 128;
    if good { Ok(tag.to_owned()) } else { Err(format!("`{}` is not a tag", tag.escape_debug())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    #[test]
    fn every_form_that_people_paste() {
        for (text, canonical) in [
            ("debian@sha256:HEX", "docker.io/library/debian@sha256:HEX"),
            ("docker.io/library/debian@sha256:HEX", "docker.io/library/debian@sha256:HEX"),
            ("docker.io/debian@sha256:HEX", "docker.io/library/debian@sha256:HEX"),
            ("index.docker.io/library/debian@SHA256:HEX", "docker.io/library/debian@sha256:HEX"),
            ("https://registry-1.docker.io/library/debian@sha256:HEX", "docker.io/library/debian@sha256:HEX"),
            ("docker://quay.io/a/b@sha256:HEX", "quay.io/a/b@sha256:HEX"),
            ("someone/tool@sha256:HEX", "docker.io/someone/tool@sha256:HEX"),
            ("quay.io/a/b:1.0@sha256:HEX", "quay.io/a/b:1.0@sha256:HEX"),
            ("QUAY.IO:443/a/b@sha256:HEX", "quay.io/a/b@sha256:HEX"),
            ("localhost/a@sha256:HEX", "localhost/a@sha256:HEX"),
            ("127.0.0.1:5000/a@sha256:HEX", "127.0.0.1:5000/a@sha256:HEX"),
            ("[::1]:5000/a@sha256:HEX", "[::1]:5000/a@sha256:HEX"),
            ("https://registry/prefix/a@sha256:HEX", "registry/prefix/a@sha256:HEX"),
            ("http://h.test:80/a@sha256:HEX", "h.test/a@sha256:HEX"),
            ("debian:12", "docker.io/library/debian:12"),
            ("debian", "docker.io/library/debian"),
            ("registry:5000", "docker.io/library/registry:5000"),
        ] {
            let reference = ImageReference::parse(&text.replace("HEX", HEX)).unwrap();
            assert_eq!(reference.to_string(), canonical.replace("HEX", HEX), "{text}");
        }
        assert_eq!(ImageReference::parse("http://h.test/a").unwrap().scheme, Some(Scheme::Http));
        let upper = format!("quay.io/a@sha256:{}", HEX.to_uppercase());
        assert!(ImageReference::parse(&upper).unwrap().to_string().ends_with(HEX));
    }

    #[test]
    fn what_is_no_reference_says_why() {
        for (text, says) in [
            ("", "is missing"),
            ("ftp://h.test/a@sha256:HEX", "scheme"),
            ("https://u:hunter2@h.test/a@sha256:HEX", "user information"),
            ("h.test/a@sha256:HEX@sha256:HEX", "not a digest"),
            ("h.test/a@sha256:abc", "64 hexadecimal digits"),
            ("h.test/a@sha256:HEX0", "64 hexadecimal digits"),
            ("h.test/a@md5:00000000000000000000000000000000", "sha256 or sha512"),
            ("h.test/a@sha256:../../x", "not a digest"),
            ("h.test/A@sha256:HEX", "not a repository"),
            ("h.test/a/../b@sha256:HEX", "not a repository"),
            ("h.test//a@sha256:HEX", "not a repository"),
            ("h.test/@sha256:HEX", "names no repository"),
            ("https://h.test@sha256:HEX", "names no repository"),
            ("h.test/a b@sha256:HEX", "stands in no reference"),
            ("h.test/a@sha256:HEX\nx", "stands in no reference"),
            ("h.test/a:b:c@sha256:HEX", "not a repository"),
            ("h.test/a:@sha256:HEX", "not a tag"),
            ("h.test:x/a@sha256:HEX", "port"),
        ] {
            let problem = ImageReference::parse(&text.replace("HEX", HEX)).unwrap_err();
            assert!(problem.contains(says) && !problem.contains("hunter2"), "{text}: {problem}");
        }
    }
}
