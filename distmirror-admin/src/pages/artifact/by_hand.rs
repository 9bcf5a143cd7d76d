//! Supplying the bytes of a file by hand: the card that offers it, and reading its form, which may be of any size.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use distmirror_core::{Artifact, ArtifactId, State, Uri};
use futures::TryStreamExt;
use hyper::body::Bytes;
use poem::{
    Body, FromRequest, Request, RequestBody, Result,
    http::StatusCode,
    web::{Field, Multipart},
};
use serde::Serialize;
use tokio::io::AsyncReadExt;

use super::command::{Command, quoted, word};
use crate::{Options, api::PREFIX, problem::Problem, upload::Upload};

/// The card on the page of a file that is not here.
#[derive(Serialize)]
pub(super) struct Card {
    /// Whether a checksum must be shown with the bytes, because none was declared.
    needs_checksum: bool,
    /// The same for a shell, if it is known where the API is.
    command: Option<Command>,
}

impl Card {
    /// The card, if bytes may be supplied.
    pub(super) fn of(uri: &Uri, artifact: &Artifact, options: &Options) -> Option<Self> {
        let is_awaited = matches!(artifact.state, State::Pending | State::Failed) || artifact.damage.is_some();
        if !is_awaited || options.intake.is_none() {
            return None;
        }
        let needs_checksum = artifact.must_have().is_empty();
        let command = options.public_url.as_deref().map(|site| command(uri, artifact.id, needs_checksum, site));
        Some(Self { needs_checksum, command })
    }
}

fn command(uri: &Uri, id: ArtifactId, needs_checksum: bool, site: &str) -> Command {
    let file = if uri.file_name().is_empty() { "FILE" } else { uri.file_name() };
    let query = if needs_checksum { "?sha256=HEX" } else { "" };
    let address = format!("{}{PREFIX}/artifacts/{id}/content{query}", site.trim_end_matches('/'));
    Command::new("From a command line", format!("curl -f -T {} {}", word(file), quoted(&address)))
}

/// What the form sends. The checksum stands before the file, because it is read once, from front to back.
pub(super) struct Form {
    pub(super) sha256: Option<String>,
    pub(super) file: Option<Upload>,
}

impl<'a> FromRequest<'a> for Form {
    async fn from_request(request: &'a Request, body: &mut RequestBody) -> Result<Self> {
        let is_at_file = Arc::new(AtomicBool::new(false));
        let body = limited(body.take()?, Arc::clone(&is_at_file));
        let form = Multipart::from_request(request, &mut RequestBody::new(body)).await?;
        let read = tokio::time::timeout(FIELDS_WITHIN, Self::read(form)).await;
        is_at_file.store(true, Ordering::Relaxed);
        let too_slow = || Problem::new(StatusCode::REQUEST_TIMEOUT, "too_slow", "the form took too long");
        Ok(read.unwrap_or_else(|_| Err(too_slow()))?)
    }
}

impl Form {
    async fn read(mut form: Multipart) -> Result<Self, Problem> {
        let mut sha256 = None;
        while let Some(field) = form.next_field().await.map_err(|_| unreadable())? {
            match field.name() {
                Some("sha256") => sha256 = Some(text(field).await?),
                // Without a choice, browsers send a file without a name.
                Some("file") if field.file_name() != Some("") => {
                    return Ok(Self { sha256, file: Some(Upload::of_field(field)) });
                }
                _ => {}
            }
        }
        Ok(Self { sha256, file: None })
    }
}

async fn text(field: Field) -> Result<String, Problem> {
    let mut text = String::new();
    let mut reader = std::pin::pin!(field.into_async_read().take(MAX_TEXT_BYTES));
    reader.read_to_string(&mut text).await.map_err(|_| unreadable())?;
    Ok(text)
}

fn unreadable() -> Problem {
    Problem::bad_request("the form cannot be read, or ended early: open the page and try again")
}

/// The body, which ends with an error if there is too much before the file: all that is held in memory until its end is found.
fn limited(body: Body, is_at_file: Arc<AtomicBool>) -> Body {
    let mut received = 0;
    Body::from_bytes_stream(body.into_bytes_stream().and_then(move |piece: Bytes| {
        received += piece.len();
        let is_too_much = received > MAX_FIELD_BYTES && !is_at_file.load(Ordering::Relaxed);
        std::future::ready(if is_too_much { Err(io::Error::other("too much before the file")) } else { Ok(piece) })
    }))
}

/// How much may come before the file, in bytes, and how long that may take.
const MAX_FIELD_BYTES: usize = 4 << 20;
const FIELDS_WITHIN: Duration = Duration::from_secs(30);
/// The longest text of a field that is read, in bytes.
const MAX_TEXT_BYTES: u64 = 1024;
