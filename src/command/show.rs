//! `show`: everything about an artifact.

use std::io::{self, Write};

use super::{
    Exit,
    api::Api,
    artifact::{Artifact, Declaration, Platform, Source, Usage},
    error::Result,
    print::{self, bytes, moment, printable},
};
use crate::cli::ShowArgs;

/// `show`
pub(super) async fn artifact(args: &ShowArgs, out: &mut dyn Write) -> Result<Exit> {
    let api = Api::new(&args.client)?;
    let found = api.find(&args.artifact).await?;
    if args.client.json {
        print::json(out, &found)?;
    } else {
        print(&api.read(&found)?, out)?;
    }
    Ok(Exit::Done)
}

fn print(artifact: &Artifact, out: &mut dyn Write) -> io::Result<()> {
    print::table(out, lines(artifact).into_iter().map(|(name, value)| [name.to_owned(), value]))?;
    for declaration in &artifact.declarations {
        writeln!(out, "\n{}", printable(&headline(declaration)))?;
        writeln!(out, "    {}", printable(&declaration.reason))?;
    }
    Ok(())
}

fn lines(artifact: &Artifact) -> Vec<(&'static str, String)> {
    let source = artifact.source.as_ref();
    let lines = [
        ("id", Some(artifact.id.clone())),
        ("name", Some(artifact.name().to_owned())),
        ("state", Some(artifact.state.clone())),
        ("quarantined because", artifact.quarantine_reason.clone()),
        ("trust", Some(trust(&artifact.trust).to_owned())),
        ("platforms", artifact.platforms.as_deref().map(platforms)),
        ("size", artifact.size().map(|size| format!("{} ({size} bytes)", bytes(Some(size))))),
        ("content type", artifact.content_type.clone()),
        ("sha256", artifact.sha256.clone()),
        ("sha512", artifact.sha512.clone()),
        ("declared", Some(moment(artifact.declared_at))),
        ("fetched", artifact.fetched_at.map(moment)),
        ("last used", artifact.usage.map(last_used)),
        ("attempts", Some(artifact.attempts.to_string())),
        ("progress", artifact.progress.map(|p| format!("{} of {}", bytes(Some(p.bytes)), bytes(p.total)))),
        ("last error", artifact.last_error.clone()),
        ("next attempt", artifact.next_attempt_at.map(moment)),
        ("final URL", source.map(|source| source.final_url.clone())),
        ("redirected by", source.and_then(redirects)),
        ("certificate", source.and_then(|source| source.peer_certificate_sha256.clone())),
    ];
    lines.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

fn last_used(usage: Usage) -> String {
    let Usage { requests, bytes: sent, last_used_at } = usage;
    let s = if requests == 1 { "" } else { "s" };
    format!("{} ({requests} request{s} in all, {} sent)", moment(last_used_at), bytes(Some(sent)))
}

/// Those that are here, and those that one could have.
fn platforms(all: &[Platform]) -> String {
    let names = |present: bool| {
        let names: Vec<_> = all.iter().filter(|p| p.present == present).map(|p| p.platform.as_str()).collect();
        names.join(", ")
    };
    match (names(true), names(false)) {
        (here, others) if others.is_empty() => here,
        (here, others) => format!("{here} (not here: {others})"),
    }
}

fn trust(trust: &str) -> &str {
    match trust {
        "verified" => "verified against a declared checksum",
        "first-use" => "on first use: no checksum was declared",
        other => other,
    }
}

fn redirects(source: &Source) -> Option<String> {
    (!source.redirects.is_empty()).then(|| source.redirects.join(" "))
}

fn headline(declaration: &Declaration) -> String {
    let mut line = format!("declared by {} on {}", declaration.who, moment(declaration.at));
    let details = [
        ("project", &declaration.project),
        ("licence", &declaration.license),
        ("ticket", &declaration.ticket),
        ("tag", &declaration.tag),
    ];
    for (name, value) in details {
        if let Some(value) = value {
            line.push_str(&format!(", {name} {value}"));
        }
    }
    line
}
