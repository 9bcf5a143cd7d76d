//! The shape of the house, asked of `cargo tree`: crates are layers, arrows point inwards, and there is exactly
//! one crypto provider. The reasons are in `ARCHITECTURE.md`.

use std::collections::BTreeSet;

use crate::run::{Outcome, capture, cargo};

const CORE: &str = "distmirror-core";

/// The crates around the core; none of them may know another.
const SIBLINGS: [&str; 4] = ["distmirror-admin", "distmirror-backends", "distmirror-fetch", "distmirror-proxy"];

/// Core knows bytes, digests, names and leases, never a protocol or a product.
const BANNED_IN_CORE: [&str; 6] = ["hyper", "object_store", "oci-client", "poem", "reqwest", "sea-orm"];

/// The proxy opens no connection to an upstream, so it has no client to open one with.
const BANNED_IN_PROXY: [&str; 2] = ["oci-client", "reqwest"];

/// Fails when a crate depends, directly or not, on what its layer must not know.
pub(crate) fn check_arrows() -> Outcome {
    let mut wrong = Vec::new();
    let core = dependencies(CORE)?;
    wrong.extend(forbidden(CORE, &core, |name| is_ours(name) || BANNED_IN_CORE.contains(&name)));
    for sibling in SIBLINGS {
        let found = dependencies(sibling)?;
        if !found.contains(CORE) {
            wrong.push(format!("{sibling} does not depend on {CORE}"));
        }
        wrong.extend(forbidden(sibling, &found, |name| {
            (is_ours(name) && name != CORE) || (sibling == "distmirror-proxy" && BANNED_IN_PROXY.contains(&name))
        }));
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
}

/// Fails when `ring` is anywhere in the tree: with two providers linked, rustls panics at run time.
pub(crate) fn check_provider() -> Outcome {
    let mut tree = cargo(&["tree", "-i", "ring", "-e", "normal,build,dev", "--workspace", "--locked"]);
    let answer = capture(&mut tree)?;
    let absent =
        answer.stdout.trim().is_empty() && (answer.success || answer.stderr.contains("did not match any packages"));
    if absent { Ok(()) } else { Err(format!("`ring` is linked beside aws-lc-rs:\n{}{}", answer.stdout, answer.stderr)) }
}

fn is_ours(name: &str) -> bool {
    name == "distmirror" || name.starts_with("distmirror-")
}

fn forbidden(package: &str, found: &BTreeSet<String>, banned: impl Fn(&str) -> bool) -> Vec<String> {
    found
        .iter()
        .filter(|name| *name != package && banned(name))
        .map(|name| format!("{package} depends on {name}"))
        .collect()
}

/// Names of all packages that this package links in normal use, itself among them.
fn dependencies(package: &str) -> Outcome<BTreeSet<String>> {
    let mut tree = cargo(&["tree", "-p", package, "-e", "normal", "--prefix", "none", "--all-features", "--locked"]);
    let answer = capture(&mut tree)?;
    if !answer.success {
        return Err(answer.stderr);
    }
    Ok(package_names(&answer.stdout))
}

/// Each line reads `NAME vVERSION ...`.
fn package_names(tree: &str) -> BTreeSet<String> {
    tree.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_first_word_of_each_line() {
        let names = package_names("bytes v1.12.2\nhyper v1.12.0 (*)\n\nbytes v1.12.2 (*)\n");
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["bytes", "hyper"]);
    }

    #[test]
    fn a_package_may_name_itself_but_nothing_banned() {
        let found = package_names("distmirror-core v0\nhyper v1\n");
        let wrong = forbidden(CORE, &found, |name| is_ours(name) || BANNED_IN_CORE.contains(&name));
        assert_eq!(wrong, ["distmirror-core depends on hyper"]);
    }
}
