//! `retry`, `quarantine` and `release`: what people decide about one artifact.

use std::io::Write;

use serde_json::{Value, json};

use super::{
    Exit,
    api::Api,
    artifact::Artifact,
    error::Result,
    print::{self, printable},
};
use crate::cli::{ClientArgs, DecisionArgs, RetryArgs};

/// `retry`
pub(super) async fn retry(args: &RetryArgs, out: &mut dyn Write) -> Result<Exit> {
    decide(&args.client, &args.artifact, "retry", None, out).await
}

/// `quarantine`
pub(super) async fn quarantine(args: &DecisionArgs, out: &mut dyn Write) -> Result<Exit> {
    decide(&args.client, &args.artifact, "quarantine", Some(json!({ "reason": args.reason })), out).await
}

/// `release`
pub(super) async fn release(args: &DecisionArgs, out: &mut dyn Write) -> Result<Exit> {
    decide(&args.client, &args.artifact, "release", Some(json!({ "reason": args.reason })), out).await
}

async fn decide(
    client: &ClientArgs,
    id_or_uri: &str,
    action: &str,
    body: Option<Value>,
    out: &mut dyn Write,
) -> Result<Exit> {
    let api = Api::new(client)?;
    let found: Artifact = api.read(&api.find(id_or_uri).await?)?;
    let (_, answer) = api.post(&["artifacts", &found.id, action], body.as_ref()).await?;
    if client.json {
        print::json(out, &answer)?;
    } else {
        let artifact: Artifact = api.read(&answer)?;
        writeln!(out, "{}  {}", printable(&artifact.state), printable(artifact.name()))?;
    }
    Ok(Exit::Done)
}
