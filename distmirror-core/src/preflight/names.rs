//! What the name of a file tells: places whose bytes are known to change under the same URL.

use super::Advice;
use crate::{Checksums, Uri};

/// The advice for a URI whose bytes are known to change, with the stable alternative where there is one.
pub(super) fn known_to_change(uri: &Uri, expected: &Checksums) -> Option<Advice> {
    let (message, mut remedy) = changing(uri)?;
    if expected.is_empty() {
        remedy.push_str("; at the least, give a checksum, so that other bytes are noticed");
    }
    Some(Advice::note("changes", message, remedy))
}

/// Why the bytes change, and what to use in its place.
fn changing(uri: &Uri) -> Option<(String, String)> {
    let host = uri.authority().host.bare();
    let segments: Vec<&str> = uri.path().split('/').skip(1).collect();
    on_github(&host, &segments)
        .or_else(|| on_forge(&host, &segments))
        .or_else(|| by_words(&segments))
        .map(|(why, instead)| (why.to_owned(), instead))
}

fn on_github(host: &str, segments: &[&str]) -> Option<(&'static str, String)> {
    let release = |owner: &str, repository: &str, tag: &str| {
        format!(
            "use a file that the project attached to its release, as in `https://github.com/{owner}/{repository}/releases/download/{tag}/FILE`"
        )
    };
    match (host, segments) {
        ("github.com", [owner, repository, "archive", ..]) => {
            Some((MADE_ANEW, release(owner, repository, tag_of(segments))))
        }
        ("codeload.github.com", [owner, repository, ..]) => Some((MADE_ANEW, release(owner, repository, "TAG"))),
        ("api.github.com", ["repos", owner, repository, "tarball" | "zipball", ..]) => {
            Some((MADE_ANEW, release(owner, repository, "TAG")))
        }
        ("github.com", [owner, repository, "releases", "latest", "download", file]) => {
            let instead = format!(
                "name the release, as in `https://github.com/{owner}/{repository}/releases/download/TAG/{file}`"
            );
            Some(("it is whatever release is the latest one", instead))
        }
        ("raw.githubusercontent.com", [_, _, reference, ..]) | ("github.com", [_, _, "raw", reference, ..])
            if !is_commit(reference) =>
        {
            Some((MOVES, PIN.to_owned()))
        }
        _ => None,
    }
}

/// The tag in `/OWNER/REPOSITORY/archive/refs/tags/TAG.tar.gz`, also without `refs/tags`.
fn tag_of<'a>(segments: &[&'a str]) -> &'a str {
    let name = segments.last().copied().unwrap_or_default();
    let name = [".tar.gz", ".tgz", ".zip"].iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name);
    if segments.contains(&"heads") || is_commit(name) || name.is_empty() { "TAG" } else { name }
}

/// GitLab on whatever host, Gitea, Bitbucket, Gitiles and cgit.
fn on_forge(host: &str, segments: &[&str]) -> Option<(&'static str, String)> {
    let attached = || "use a file that the project attached to its release".to_owned();
    let after = |word: &str| segments.windows(3).find(|window| window[..2] == ["-", word]).map(|window| window[2]);
    if after("archive").is_some() || (host == "bitbucket.org" && segments.get(2) == Some(&"get")) {
        return Some((MADE_ANEW, attached()));
    }
    if segments.contains(&"+archive") || segments.iter().rev().nth(1) == Some(&"snapshot") {
        return Some((MADE_ANEW, attached()));
    }
    after("raw").filter(|reference| !is_commit(reference)).map(|_| (MOVES, PIN.to_owned()))
}

/// Words in a path that say that it moves with the time.
fn by_words(segments: &[&str]) -> Option<(&'static str, String)> {
    let words = segments.iter().flat_map(|segment| segment.split(|c: char| !c.is_ascii_alphanumeric()));
    let moves = words.into_iter().any(|word| {
        ["latest", "nightly", "head", "master", "trunk"].iter().any(|moving| word.eq_ignore_ascii_case(moving))
    });
    moves.then(|| ("its name says that it changes with the time", "use the URL of one version".to_owned()))
}

fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

const MADE_ANEW: &str = "the server makes this archive anew when it is asked for, and its bytes have changed before";
const MOVES: &str = "it names a branch or a tag, which moves";
const PIN: &str = "put the full hash of a commit in its place";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_that_are_known_to_change() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let pinned = format!("https://raw.githubusercontent.com/o/r/{commit}/f");
        for (uri, instead) in [
            (
                "https://github.com/o/r/archive/refs/tags/v1.2.tar.gz",
                Some("https://github.com/o/r/releases/download/v1.2/FILE"),
            ),
            ("https://github.com/o/r/archive/v1.2.zip", Some("/releases/download/v1.2/FILE")),
            ("https://github.com/o/r/archive/refs/heads/main.zip", Some("/releases/download/TAG/FILE")),
            ("https://codeload.github.com/o/r/tar.gz/v1", Some("https://github.com/o/r/releases")),
            ("https://api.github.com/repos/o/r/tarball/v1", Some("https://github.com/o/r/releases")),
            ("https://github.com/o/r/releases/latest/download/a.zip", Some("/releases/download/TAG/a.zip")),
            ("https://github.com/o/r/releases/download/v1/a.zip", None),
            ("https://raw.githubusercontent.com/o/r/main/f", Some("hash of a commit")),
            (&pinned, None),
            ("https://gitlab.example.org/g/p/-/archive/v1/p-v1.tar.gz", Some("attached to its release")),
            ("https://gitlab.example.org/g/s/p/-/raw/main/f", Some("hash of a commit")),
            ("https://bitbucket.org/o/r/get/v1.tar.gz", Some("attached to its release")),
            ("https://x.googlesource.com/p/+archive/refs/tags/v1.tar.gz", Some("attached to its release")),
            ("https://git.example.org/p.git/snapshot/p-1.tar.gz", Some("attached to its release")),
            ("https://h.test/tool-latest.tar.gz", Some("of one version")),
            ("https://h.test/Nightly/tool.tar.gz", Some("of one version")),
            ("https://h.test/tool-1.0.tar.gz", None),
            ("https://h.test/masterpiece/headless/latestfix-1.0.zip", None),
            ("https://h.test/", None),
        ] {
            let advice = known_to_change(&uri.parse().unwrap(), &Checksums::none());
            let remedy = advice.as_ref().map(|advice| advice.remedy.as_str());
            match instead {
                Some(words) => assert!(remedy.is_some_and(|remedy| remedy.contains(words)), "{uri}: {advice:?}"),
                None => assert_eq!(advice, None, "{uri}"),
            }
        }
    }
}
