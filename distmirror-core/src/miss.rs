//! Requests for what nobody declared, gathered so that a person can declare them.

use jiff::Timestamp;
use uuid::Uuid;

use crate::{ArtifactName, Uri};

/// One undeclared name that was asked for, with everything known about the asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Miss {
    /// Identifies it.
    pub id: Uuid,
    /// What was asked for.
    pub name: ArtifactName,
    /// How often.
    pub count: u64,
    /// When first.
    pub first_seen: Timestamp,
    /// When last.
    pub last_seen: Timestamp,
    /// The method of the last request.
    pub method: String,
    /// The address of the client that asked last.
    pub client: String,
    /// What that client calls itself.
    pub user_agent: Option<String>,
    /// The project that the request was attributed to.
    pub project: Option<String>,
}

impl Miss {
    /// Why declaring this would not help, if it would not.
    pub fn why_not(&self) -> Option<&'static str> {
        match &self.name {
            ArtifactName::File(uri) => mutable(uri),
            ArtifactName::Image(_) => None,
        }
    }
}

/// Requests for one undeclared name since the last report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissReport {
    /// What was asked for.
    pub name: ArtifactName,
    /// How often.
    pub count: u64,
    /// When first in this report.
    pub first_seen: Timestamp,
    /// When last.
    pub last_seen: Timestamp,
    /// The method of the last request.
    pub method: String,
    /// The address of the client that asked last.
    pub client: String,
    /// What that client calls itself.
    pub user_agent: Option<String>,
    /// The project that the request was attributed to.
    pub project: Option<String>,
}

/// Says why a URI names something that changes, so that keeping one copy for ever would be wrong.
fn mutable(uri: &Uri) -> Option<&'static str> {
    let (path, query) = (uri.path(), uri.query().unwrap_or_default());
    if path.ends_with("/info/refs") || path.ends_with("/git-upload-pack") {
        return Some("a git repository, not a file: declare a release archive of it");
    }
    if path.ends_with("/token") || path.contains("/oauth") {
        return Some("an access token, which must not be kept");
    }
    if path.ends_with("/tags/list") || path.contains("/v2/_catalog") {
        return Some("a list of tags, which changes: declare the image by digest");
    }
    if path.starts_with("/v2/") && path.contains("/manifests/") && !path.contains("/manifests/sha") {
        return Some("an image by tag, which changes: declare the image by digest");
    }
    if query.split('&').any(|field| field.starts_with("mode=")) && path.ends_with(".json") {
        return Some("an index that changes: declare the files that it lists");
    }
    None
}

/// Whether a URI matches an ignore pattern: `*` stands for any characters, everything else for itself.
pub fn matches_pattern(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut ends_open = !pattern.contains('*');
    if ends_open {
        return rest.is_empty();
    }
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            ends_open = part.is_empty();
            return ends_open || rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    ends_open
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text, wanted) in [
            ("http://h/x", "http://h/x", true),
            ("http://h/x", "http://h/xy", false),
            ("http://h/*", "http://h/", true),
            ("*", "anything", true),
            ("*.json", "http://h/a.json", true),
            ("*.json", "http://h/a.jsonx", false),
            ("*telemetry*", "http://telemetry.test/x", true),
            ("http://*/a/*.txt", "http://h/a/b/c.txt", true),
            ("http://*/a/*.txt", "http://h/b/c.txt", false),
            ("", "x", false),
        ] {
            assert_eq!(matches_pattern(pattern, text), wanted, "{pattern} {text}");
        }
    }

    #[test]
    fn what_changes_is_not_declarable() {
        for (uri, declarable) in [
            ("https://h/a-1.0.tar.gz", true),
            ("https://h/repo.git/info/refs?service=git-upload-pack", false),
            ("https://auth.h/token?scope=x", false),
            ("https://h/v2/a/tags/list", false),
            ("https://h/v2/a/manifests/latest", false),
            ("https://h/list.json?mode=fast", false),
        ] {
            assert_eq!(mutable(&uri.parse().unwrap()).is_none(), declarable, "{uri}");
        }
    }
}
