//! `declare`: declares each file or image, and waits until they are here if that is wanted.

use std::io::Write;

use reqwest::StatusCode;
use serde::Deserialize;
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
use crate::cli::{ChecksumArgs, DeclareArgs, DeclareFileArgs, DeclareImageArgs};

/// `declare file`. One URI that is refused does not keep the others from being declared.
pub(super) async fn files(args: &DeclareFileArgs, out: &mut dyn Write) -> Result<Exit> {
    args.checksums.belong_to_one(args.uris.len()).map_err(|message| Error::Usage(message.to_owned()))?;
    let api = Api::new(&args.common.client)?;
    let request = |uri: &String| {
        let mut request = json!({ "kind": "file", "uri": uri });
        add_checksums(&mut request, &args.checksums);
        (uri.clone(), request)
    };
    declare(&api, &args.common, args.uris.iter().map(request).collect(), out).await
}

/// `declare image`. Tags are only resolved if that is asked for: what they name is a decision.
pub(super) async fn images(args: &DeclareImageArgs, out: &mut dyn Write) -> Result<Exit> {
    let api = Api::new(&args.common.client)?;
    let mut requests = Vec::with_capacity(args.references.len());
    for reference in &args.references {
        let pinned =
            if args.resolve && !reference.contains('@') { resolve(&api, reference).await? } else { reference.clone() };
        let mut request = json!({ "kind": "image", "reference": pinned });
        if args.all_platforms {
            request["platforms"] = json!("all");
        } else if !args.platforms.is_empty() {
            request["platforms"] = json!(args.platforms);
        }
        requests.push((reference.clone(), request));
    }
    declare(&api, &args.common, requests, out).await
}

/// The reference with the digest that its tag names now.
async fn resolve(api: &Api, reference: &str) -> Result<String> {
    let (_, answer) = api.post(&["images", "resolve"], Some(&json!({ "reference": reference }))).await?;
    let Resolved { reference: pinned } = api.read(&answer)?;
    // How the registry is reached was said with the tag, and is no part of the name.
    let scheme = if reference.starts_with("http://") { "http://" } else { "" };
    complain(format_args!("{} is now {}", printable(reference), printable(&pinned)));
    Ok(format!("{scheme}{pinned}"))
}

/// What a tag names at this moment.
#[derive(Debug, Deserialize)]
struct Resolved {
    reference: String,
}

/// Sends these requests, each with the name by which the person knows it.
async fn declare(api: &Api, args: &DeclareArgs, requests: Vec<(String, Value)>, out: &mut dyn Write) -> Result<Exit> {
    let mut exit = Exit::Done;
    let mut declared = Vec::new();
    let several = requests.len() > 1;
    for (name, mut request) in requests {
        request["reason"] = json!(args.reason);
        add(&mut request, [("project", &args.project), ("license", &args.license), ("ticket", &args.ticket)]);
        match api.post(&["artifacts"], Some(&request)).await {
            Ok((status, answer)) => {
                let artifact = Followed { shown: api.read(&answer)?, answer };
                if !args.client.json {
                    announce(status, &artifact.shown, out)?;
                }
                declared.push(artifact);
            }
            Err(error @ Error::Refused { .. }) => {
                let prefix = if several { format!("{}: ", printable(&name)) } else { String::new() };
                complain(format_args!("{prefix}{error}"));
                exit = Exit::Failed;
            }
            Err(error) => return Err(error),
        }
    }
    if args.wait {
        follow(api, &mut declared).await?;
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

/// Adds the checksums that were given.
pub(super) fn add_checksums(request: &mut Value, checksums: &ChecksumArgs) {
    add(request, checksums.fields());
}

/// Adds the fields that were given.
fn add<const COUNT: usize>(request: &mut Value, fields: [(&str, &Option<String>); COUNT]) {
    for (field, value) in fields {
        if let Some(value) = value {
            request[field] = json!(value);
        }
    }
}

fn announce(status: StatusCode, artifact: &Artifact, out: &mut dyn Write) -> Result<()> {
    let what = if status == StatusCode::CREATED { "declared" } else { "already declared" };
    let (id, name, state) = (&artifact.id, artifact.name(), &artifact.state);
    writeln!(out, "{what}  {}  {}  ({})", printable(id), printable(name), printable(state))?;
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
            writeln!(
                out,
                "present  sha256:{}  {}  {}",
                printable(sha256),
                bytes(shown.size()),
                printable(shown.name())
            )?;
        }
    }
    Ok(exit)
}

fn why_not(artifact: &Artifact) -> String {
    let cause = artifact.quarantine_reason.as_ref().or(artifact.last_error.as_ref());
    let cause = cause.map_or("the server does not say why", String::as_str);
    let again = artifact.next_attempt_at.map(|at| format!("; it is tried again at {}", moment(at)));
    format!("{}  {}: {cause}{}", artifact.state, artifact.name(), again.unwrap_or_default())
}

const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
