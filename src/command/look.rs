//! `look`: what there is to know of files before they are declared.

use std::io::Write;

use serde::Deserialize;
use serde_json::json;

use super::{
    Exit,
    api::Api,
    complain,
    declare::add_checksums,
    error::{Error, Result},
    print::{self, bytes, printable},
};
use crate::cli::LookArgs;

/// Looks at each; exit status 1 if one would not be fetched as it is meant.
pub(super) async fn look(args: &LookArgs, out: &mut dyn Write) -> Result<Exit> {
    args.checksums.belong_to_one(args.uris.len()).map_err(|message| Error::Usage(message.to_owned()))?;
    let api = Api::new(&args.client)?;
    let mut exit = Exit::Done;
    for uri in &args.uris {
        let mut request = json!({ "kind": "file", "uri": uri });
        add_checksums(&mut request, &args.checksums);
        let answer = match api.post(&["artifacts", "preflight"], Some(&request)).await {
            Ok((_, answer)) => answer,
            Err(error @ Error::Refused { .. }) => {
                complain(format_args!("{}: {error}", printable(uri)));
                exit = Exit::Failed;
                continue;
            }
            Err(error) => return Err(error),
        };
        let looked: Looked = api.read(&answer)?;
        if looked.advice.iter().any(|advice| advice.severity == "problem") {
            exit = Exit::Failed;
        }
        if args.client.json { print::json(out, &answer)? } else { looked.show(out)? }
    }
    Ok(exit)
}

#[derive(Debug, Deserialize)]
struct Looked {
    uri: String,
    found: Option<Found>,
    advice: Vec<Advice>,
}

#[derive(Debug, Deserialize)]
struct Found {
    status: u16,
    size: Option<u64>,
    content_type: Option<String>,
    final_url: String,
}

#[derive(Debug, Deserialize)]
struct Advice {
    severity: String,
    message: String,
    remedy: String,
}

impl Looked {
    fn show(&self, out: &mut dyn Write) -> Result<()> {
        writeln!(out, "{}", printable(&self.uri))?;
        if let Some(Found { status, size, content_type, final_url }) = &self.found {
            let content_type = content_type.as_deref().unwrap_or("-");
            writeln!(out, "  {status}  {}  {}", bytes(*size), printable(content_type))?;
            if *final_url != self.uri {
                writeln!(out, "  from {}", printable(final_url))?;
            }
        }
        for Advice { severity, message, remedy } in &self.advice {
            writeln!(out, "  {}: {}; {}", printable(severity), printable(message), printable(remedy))?;
        }
        Ok(())
    }
}
