//! `declare file`: declares each URI, and waits until the files are here if that is wanted.

use std::io::Write;

use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::time::{Duration, sleep};

use super::{
    Exit,
    api::Api,
    artifact::Artifact,
    complain,
    error::{Error, Result},
    print::{self, bytes, moment, printable},
    progress::Progress,
};
use crate::cli::DeclareFileArgs;

/// `declare file`. One URI that is refused does not keep the others from being declared.
pub(super) async fn files(args: &DeclareFileArgs, out: &mut dyn Write) -> Result<Exit> {
    if args.uris.len() > 1 && (args.sha256.is_some() || args.integrity.is_some()) {
        let message = "a checksum belongs to one file: give one URI, or leave out --sha256 and --integrity";
        return Err(Error::Usage(message.to_owned()));
    }
    let api = Api::new(&args.client)?;
    let mut exit = Exit::Done;
    let mut declared = Vec::new();
    for uri in &args.uris {
        match api.post(&["artifacts"], Some(&request(args, uri))).await {
            Ok((status, answer)) => {
                let artifact = Followed { shown: api.read(&answer)?, answer };
                if !args.client.json {
                    announce(status, &artifact.shown, out)?;
                }
                declared.push(artifact);
            }
            Err(error @ Error::Refused { .. }) => {
                let prefix = if args.uris.len() > 1 { format!("{}: ", printable(uri)) } else { String::new() };
                complain(format_args!("{prefix}{error}"));
                exit = Exit::Failed;
            }
            Err(error) => return Err(error),
        }
    }
    if args.wait {
        follow(&api, &mut declared).await?;
        exit = conclude(&declared, exit, args.client.json, out)?;
    }
    if args.client.json {
        declared.iter().try_for_each(|artifact| print::json(out, &artifact.answer))?;
    }
    Ok(exit)
}

/// An artifact as the server last described it.
struct Followed {
    answer: Value,
    shown: Artifact,
}

fn request(args: &DeclareFileArgs, uri: &str) -> Value {
    let mut request = json!({ "kind": "file", "uri": uri, "reason": args.reason });
    let optional = [
        ("sha256", &args.sha256),
        ("integrity", &args.integrity),
        ("project", &args.project),
        ("license", &args.license),
        ("ticket", &args.ticket),
    ];
    for (field, value) in optional {
        if let Some(value) = value {
            request[field] = json!(value);
        }
    }
    request
}

fn announce(status: StatusCode, artifact: &Artifact, out: &mut dyn Write) -> Result<()> {
    let what = if status == StatusCode::CREATED { "declared" } else { "already declared" };
    let Artifact { id, uri, state, .. } = artifact;
    writeln!(out, "{what}  {}  {}  ({})", printable(id), printable(uri), printable(state))?;
    Ok(out.flush()?)
}

/// Asks again and again until nothing more happens to any of them.
async fn follow(api: &Api, artifacts: &mut [Followed]) -> Result<()> {
    let mut progress = Progress::new(artifacts.iter().map(|artifact| &artifact.shown));
    let mut pause = SHORTEST_PAUSE;
    while artifacts.iter().any(|artifact| !artifact.shown.is_settled()) {
        sleep(pause).await;
        pause = LONGEST_PAUSE.min(pause * 5 / 4);
        for (number, artifact) in artifacts.iter_mut().enumerate().filter(|(_, a)| !a.shown.is_settled()) {
            artifact.answer = api.get(&["artifacts", &artifact.shown.id], &[]).await?;
            artifact.shown = api.read(&artifact.answer)?;
            progress.update(number, &artifact.shown);
        }
    }
    progress.finish();
    Ok(())
}

/// Tells what became of each.
fn conclude(artifacts: &[Followed], mut exit: Exit, is_json: bool, out: &mut dyn Write) -> Result<Exit> {
    for Followed { shown, .. } in artifacts {
        if !shown.is_present() {
            complain(printable(&why_not(shown)));
            exit = Exit::Failed;
        } else if !is_json {
            let sha256 = shown.sha256.as_deref().unwrap_or("-");
            writeln!(out, "present  sha256:{}  {}  {}", printable(sha256), bytes(shown.size), printable(&shown.uri))?;
        }
    }
    Ok(exit)
}

fn why_not(artifact: &Artifact) -> String {
    let cause = artifact.quarantine_reason.as_ref().or(artifact.last_error.as_ref());
    let cause = cause.map_or("the server does not say why", String::as_str);
    let again = artifact.next_attempt_at.map(|at| format!("; it is tried again at {}", moment(at)));
    format!("{}  {}: {cause}{}", artifact.state, artifact.uri, again.unwrap_or_default())
}

const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
