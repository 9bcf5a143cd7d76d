//! The fetcher for files: one URI, one answer of status 200, one blob.
//!
//! An interrupted transfer is resumed where [`resume`] can prove that it is the same file.
//! Upstream's `Content-Encoding` is recorded and never decoded.

use async_trait::async_trait;
use distmirror_core::{
    ArtifactName, Content, Failure, Fetched, Fetcher, Intake, Job, Kind, ProgressMeter, Received, Spool, Uri,
};
use http::{HeaderMap, Response, StatusCode, Version, header};
use hyper::body::{Body, Incoming};

use crate::{
    Answer, UpstreamClient, headers,
    resume::{self, Resume},
    transfer,
};

/// Fetches files.
#[derive(Debug, Clone)]
pub struct FileFetcher {
    client: UpstreamClient,
}

impl FileFetcher {
    /// A fetcher that asks through this client.
    pub fn new(client: UpstreamClient) -> Self {
        Self { client }
    }

    /// Asks for the file, or for the rest of it; the spool is where the body that comes has to go on.
    async fn open(&self, uri: &Uri, spool: &mut Spool) -> Result<Opened, Failure> {
        if let Some(resume) = Resume::of(spool) {
            let answer = self.client.get(uri, &resume.headers()).await?;
            let response = &answer.response;
            match response.status() {
                StatusCode::PARTIAL_CONTENT => {
                    if let Some(total) = resume.continued_by(response.headers(), length(response)) {
                        return Ok(Opened { answer, total: Some(total) });
                    }
                }
                StatusCode::RANGE_NOT_SATISFIABLE => {}
                _ => return begin(answer, spool).await,
            }
        }
        begin(self.client.get(uri, &HeaderMap::new()).await?, spool).await
    }
}

#[async_trait]
impl Fetcher for FileFetcher {
    fn kind(&self) -> Kind {
        Kind::File
    }

    async fn fetch(&self, job: &Job, intake: &Intake, meter: &ProgressMeter) -> Result<Fetched, Failure> {
        let ArtifactName::File(uri) = &job.artifact.name else {
            return Err(Failure::new(format!("`{}` is no file", job.artifact.name)));
        };
        let mut spool = intake.spool(&job.artifact.id.to_string()).await?;
        let Opened { answer, total } = self.open(uri, &mut spool).await?;
        check_total(total, intake.max_bytes())?;
        check_end(&answer.response, total.is_some() || !job.artifact.expected.is_empty())?;
        let content = content_of(&answer);
        let body = answer.response.into_body();
        meter.set_total(total);
        meter.set_bytes(spool.received());
        let came = |bytes| meter.add_bytes(bytes);
        if let Err(failure) = transfer::receive(body, total, &mut spool, came, self.client.idle_timeout()).await {
            // If even this fails, the next attempt starts anew: no reason to hide the first cause.
            let _ = spool.keep().await;
            return Err(failure);
        }
        Ok(Fetched::file(content(spool.finish(&job.artifact.expected).await?)))
    }
}

/// An answer whose body goes on where the spool stands.
struct Opened {
    answer: Answer,
    total: Option<u64>,
}

/// Takes an answer to a request for the whole file.
async fn begin(answer: Answer, spool: &mut Spool) -> Result<Opened, Failure> {
    let response = &answer.response;
    if response.status() != StatusCode::OK {
        return Err(answer.refusal());
    }
    let total = length(response);
    spool.restart(resume::validator(response.headers(), total)).await?;
    Ok(Opened { answer, total })
}

/// The length of the body as far as it is announced.
pub(crate) fn length(response: &Response<Incoming>) -> Option<u64> {
    response.body().size_hint().exact()
}

fn check_total(total: Option<u64>, limit: u64) -> Result<(), Failure> {
    match total {
        Some(total) if total > limit => Err(Failure::new(format!(
            "too large: upstream announces {total} bytes, and fetch.max_file_bytes is {limit} bytes"
        ))),
        _ => Ok(()),
    }
}

/// Refuses a body whose end nobody can tell from a broken connection (RFC 9112 section 8), unless it `can_be_checked`,
/// by its length or by a checksum.
fn check_end(response: &Response<Incoming>, can_be_checked: bool) -> Result<(), Failure> {
    let marks_its_end = response.version() >= Version::HTTP_2;
    match response.headers().get(header::TRANSFER_ENCODING) {
        Some(coding) if !coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Err(Failure::new(format!(
            "upstream answered with the transfer coding `{}`, which nobody asked for",
            coding.as_bytes().escape_ascii()
        ))),
        None if !marks_its_end && !can_be_checked => Err(Failure::new(
            "upstream marks the end of the body only by closing the connection, so that a piece would look like the \
             whole: declare a checksum",
        )),
        _ => Ok(()),
    }
}

/// What the headers say of the content; the rest is known when the body is here.
fn content_of(answer: &Answer) -> impl FnOnce(Received) -> Content + use<> {
    let field = |name| headers::printable(answer.response.headers(), name);
    let content_type = field(header::CONTENT_TYPE);
    let content_disposition = field(header::CONTENT_DISPOSITION);
    let content_encoding = field(header::CONTENT_ENCODING);
    let last_modified = field(header::LAST_MODIFIED);
    let source = answer.source();
    move |Received { digests, size }| Content {
        digests,
        size,
        content_type,
        content_disposition,
        content_encoding,
        last_modified,
        source,
    }
}
