//! From tags to digests: only what has a digest can be declared, and people know images by their tags.

use distmirror_core::{ImageReference, Platform, PlatformChoice, ResolvedTag};
use futures::{StreamExt, stream};
use serde::Serialize;

use super::lines;
use crate::{api, problem::FieldError, site::Site};

/// What became of the references of a form.
pub(super) struct Resolved {
    /// One to a line, with digests where there were tags that could be resolved.
    pub(super) references: String,
    pub(super) named: Vec<Named>,
    pub(super) errors: Vec<FieldError>,
}

/// What a tag names now.
#[derive(Debug, Serialize)]
pub(super) struct Named {
    tag: String,
    digest: String,
    /// The platforms to choose from; none if it is no index.
    platforms: Vec<String>,
}

/// Whether a line is a reference without a digest.
pub(super) fn has_tags(references: &str) -> bool {
    lines(references).any(|line| tagged(line).is_some())
}

/// Asks registries what the tags in these lines name now, and whether that is for the platforms that are wanted.
pub(super) async fn resolve(site: &Site, references: &str, platforms: &[String]) -> Resolved {
    let mut resolved = Resolved { references: references.to_owned(), named: Vec::new(), errors: Vec::new() };
    let mut lines: Vec<&str> = lines(references).collect();
    if lines.is_empty() {
        lines.push("");
    }
    if lines.iter().filter(|line| tagged(line).is_some()).count() > MOST_RESOLVED {
        let message = format!("has more than {MOST_RESOLVED} tags: resolve them in parts");
        resolved.errors.push(FieldError::new("reference", message));
        return resolved;
    }
    let all: Vec<_> = lines.iter().map(|line| pin(site, line)).collect();
    let outcomes: Vec<_> = stream::iter(all).buffered(ASKED_AT_ONCE).collect().await;
    let mut pinned = Vec::with_capacity(lines.len());
    for (line, outcome) in lines.into_iter().zip(outcomes) {
        match outcome {
            Ok(Pinned { line, found }) => {
                pinned.push(line);
                found.iter().for_each(|found| resolved.name(found, platforms));
            }
            Err(message) => {
                pinned.push(line.to_owned());
                resolved.errors.push(FieldError::new("reference", message));
            }
        }
    }
    resolved.references = pinned.join("\n");
    resolved
}

/// A line that has a digest.
struct Pinned {
    line: String,
    /// What its tag names, if it was resolved.
    found: Option<ResolvedTag>,
}

async fn pin(site: &Site, line: &str) -> Result<Pinned, String> {
    let reference = ImageReference::parse(line).map_err(|problem| format!("{line} {problem}").trim().to_owned())?;
    if reference.digest.is_some() {
        return Ok(Pinned { line: line.to_owned(), found: None });
    }
    let found = api::resolve(site, &reference).await.map_err(|problem| problem.detail)?;
    // How the registry is reached was said with the tag, and is no part of the name.
    let scheme = reference.scheme.map(|scheme| format!("{}://", scheme.as_str())).unwrap_or_default();
    let line = format!("{scheme}{}:{}@{}", found.name.repository(), found.tag, found.name.digest());
    Ok(Pinned { line, found: Some(found) })
}

impl Resolved {
    fn name(&mut self, found: &ResolvedTag, platforms: &[String]) {
        let tag = format!("{}:{}", found.name.repository(), found.tag);
        let offered: Vec<String> = found.platforms.iter().take(MOST_NAMED).map(ToString::to_string).collect();
        let wanted = PlatformChoice::parse(platforms).unwrap_or_default();
        let is_offered = |wanted: &Platform| found.platforms.iter().any(|offered| wanted.means(offered));
        for wanted in wanted.named().filter(|wanted| !offered.is_empty() && !is_offered(wanted)) {
            let message = format!("`{tag}` has no platform `{wanted}`: it has {}", offered.join(", "));
            self.errors.push(FieldError::new("platforms", message));
        }
        self.named.push(Named { tag, digest: found.name.digest().to_string(), platforms: offered });
    }
}

fn tagged(line: &str) -> Option<ImageReference> {
    ImageReference::parse(line).ok().filter(|reference| reference.digest.is_none())
}

/// How many tags are resolved for one form.
const MOST_RESOLVED: usize = 20;
const ASKED_AT_ONCE: usize = 4;
/// How many platforms are named.
const MOST_NAMED: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_with_tags() {
        let digest = format!("sha256:{}", "0".repeat(64));
        for (text, expected) in [
            ("debian:12", true),
            ("debian", true),
            ("http://127.0.0.1:5000/a:1", true),
            ("", false),
            ("quay.io/", false),
            ("ftp://x/y", false),
            (format!("debian:12@{digest}").as_str(), false),
            (format!("debian@{digest}\n\nquay.io/a:1\n").as_str(), true),
        ] {
            assert_eq!(has_tags(text), expected, "{text}");
        }
    }
}
