//! The fetcher for files: one URI, one answer of status 200, one blob.
//!
//! What upstream does not have may be rescued by its digest from the places that the configuration names. An interrupted
//! transfer is resumed where [`resume`] can prove that it is the same file.
//! Upstream's `Content-Encoding` is recorded and never decoded.

use std::time::Duration;

use async_trait::async_trait;
use distmirror_core::{
    ArtifactName, Checksums, Content, Digest, Failure, Fetched, Fetcher, Intake, Job, Kind, Probe, Prober,
    ProgressMeter, Received, Source, Spool, Uri, UriError,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version, header};
use hyper::body::{Body, Incoming};
use tokio::time::timeout;

use crate::{
    Answer, Credentials, UpstreamClient, credentials, headers,
    resume::{self, Resume},
    transfer,
};

/// How files are fetched.
#[derive(Debug, Clone, Default)]
pub struct FileOptions {
    /// Who may sign in where.
    pub credentials: Vec<Credentials>,
    /// Where a file may be found by its digest when upstream does not have it: URLs with `{algorithm}` and `{hex}`, and
    /// also `{host}`, `{path}` and `{name}` of the declared URI.
    pub rescue: Vec<String>,
    /// Whether a redirect from https to http is followed for what has a checksum.
    pub allow_downgrade: bool,
}

/// Fetches files.
#[derive(Debug, Clone)]
pub struct FileFetcher {
    client: UpstreamClient,
    options: FileOptions,
}

impl FileFetcher {
    /// A fetcher that asks through this client.
    pub fn new(client: UpstreamClient, options: FileOptions) -> Self {
        Self { client, options }
    }

    /// Brings the file from one place.
    async fn bring(
        &self,
        uri: &Uri,
        label: &str,
        expected: &Checksums,
        intake: &Intake,
        meter: &ProgressMeter,
    ) -> Result<Content, Failure> {
        let mut spool = intake.spool(label).await?;
        let Opened { answer, total } = self.open(uri, expected, &mut spool).await?;
        check_total(total, intake.max_bytes())?;
        check_end(&answer.response, total.is_some() || !expected.is_empty())?;
        if let Some(total) = total {
            spool.expect(total).await?;
        }
        let content = content_of(&answer);
        let body = answer.response.into_body();
        meter.set_total(total);
        meter.set_bytes(spool.received());
        let came = |bytes| meter.add_bytes(bytes);
        if let Err(failure) = transfer::receive(body, total, &mut spool, came, self.client.pace()).await {
            // If even this fails, the next attempt starts anew: no reason to hide the first cause.
            let _ = spool.keep().await;
            return Err(failure);
        }
        Ok(content(spool.finish(expected).await?))
    }

    /// Asks for the file, or for the rest of it; the spool is where the body that comes has to go on.
    async fn open(&self, uri: &Uri, expected: &Checksums, spool: &mut Spool) -> Result<Opened, Failure> {
        if let Some(resume) = Resume::of(spool) {
            let answer = self.ask(uri, &resume.headers(), expected).await?;
            let response = &answer.response;
            match response.status() {
                StatusCode::PARTIAL_CONTENT => {
                    if let Some(total) = resume.continued_by(&answer.final_uri, response.headers(), length(response)) {
                        return Ok(Opened { answer, total: Some(total) });
                    }
                }
                StatusCode::RANGE_NOT_SATISFIABLE => {}
                _ => return begin(answer, spool).await,
            }
        }
        begin(self.ask(uri, &HeaderMap::new(), expected).await?, spool).await
    }

    async fn ask(&self, uri: &Uri, headers: &HeaderMap, expected: &Checksums) -> Result<Answer, Failure> {
        let authorization = self.authorization(uri);
        let may_downgrade = self.options.allow_downgrade && !expected.is_empty();
        self.client.follow(Method::GET, uri, headers, authorization.as_ref(), may_downgrade).await
    }

    /// Every place in which what has these checksums may be; what is no URI of theirs is left out.
    fn rescue_places(&self, uri: &Uri, expected: &Checksums) -> Vec<Uri> {
        let digests = expected.iter().filter(|digest| digest.algorithm().names_content());
        digests
            .flat_map(|digest| self.options.rescue.iter().filter_map(|url| rescue_uri(url, uri, digest).ok()))
            .collect()
    }

    /// Asks without bringing anything, by the same rules.
    pub(crate) async fn look(&self, method: Method, uri: &Uri, headers: &HeaderMap) -> Result<Answer, Failure> {
        self.client.follow(method, uri, headers, self.authorization(uri).as_ref(), false).await
    }

    /// How slow a body may come.
    pub(crate) fn pace(&self) -> transfer::Pace {
        self.client.pace()
    }

    /// What to show to be let in.
    fn authorization(&self, uri: &Uri) -> Option<HeaderValue> {
        credentials::for_file(&self.options.credentials, uri).and_then(Credentials::header)
    }

    /// Looks for what upstream does not have in the other places, by digest: whatever comes is compared with it.
    async fn rescue(
        &self,
        uri: &Uri,
        label: &str,
        expected: &Checksums,
        intake: &Intake,
        meter: &ProgressMeter,
    ) -> Option<Content> {
        for place in self.rescue_places(uri, expected) {
            match self.bring(&place, &format!("{label}-rescue"), expected, intake, meter).await {
                Ok(content) => {
                    let note = Some(format!("rescued from `{}`", place.redacted()));
                    return Some(Content { source: Source { note, ..content.source }, ..content });
                }
                Err(failure) => tracing::debug!(place = place.redacted(), error = failure.message, "not rescued"),
            }
        }
        None
    }
}

#[async_trait]
impl Prober for FileFetcher {
    /// By HEAD; and as some servers know none, or say strange things of it, by asking for the first byte.
    async fn probe(&self, uri: &Uri) -> Result<Probe, Failure> {
        let probe = async {
            match self.look(Method::HEAD, uri, &HeaderMap::new()).await {
                Ok(head) if head.response.status() == StatusCode::OK => Ok(head),
                _ => self.look(Method::GET, uri, &headers::first_byte()).await,
            }
        };
        let answer = timeout(PROBE_WITHIN, probe).await;
        let answer = answer.unwrap_or_else(|_| Err(Failure::new(format!("no answer within {PROBE_WITHIN:?}"))))?;
        let response = &answer.response;
        Ok(Probe {
            status: response.status().as_u16(),
            size: headers::total(response),
            content_type: headers::printable(response.headers(), header::CONTENT_TYPE),
            final_uri: answer.final_uri,
            redirects: answer.redirects,
        })
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
        let (label, expected) = (job.artifact.id.to_string(), job.artifact.must_have());
        let failure = match self.bring(uri, &label, &expected, intake, meter).await {
            Ok(content) => return Ok(Fetched::file(content)),
            Err(failure) => failure,
        };
        match self.rescue(uri, &label, &expected, intake, meter).await {
            Some(content) => Ok(Fetched::file(content)),
            None => Err(failure),
        }
    }
}

/// Where a rescue place has what is named by this digest.
fn rescue_uri(url: &str, uri: &Uri, digest: &Digest) -> Result<Uri, UriError> {
    let host = uri.authority().for_scheme(uri.scheme());
    let path = uri.path_and_query().trim_start_matches('/');
    let fields = [
        ("{algorithm}", digest.algorithm().name().to_owned()),
        ("{hex}", digest.hex()),
        ("{host}", host),
        ("{path}", path.to_owned()),
        ("{name}", uri.file_name().to_owned()),
    ];
    Uri::parse(&fields.iter().fold(url.to_owned(), |url, (field, value)| url.replace(field, value)))
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
    spool.restart(resume::validator(&answer.final_uri, response.headers(), total)).await?;
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

/// How long a person waits for what upstream says.
const PROBE_WITHIN: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rescue_places_are_named_by_digest() {
        let uri: Uri = "https://h.test:8443/a/b.tar?x=1".parse().unwrap();
        let digest: Digest = distmirror_core::Sha256::of(b"abc").into();
        for (url, place) in [
            ("https://cas.test/{algorithm}/{hex}", format!("https://cas.test/sha256/{}", digest.hex())),
            ("https://mirror.test/{host}/{path}", "https://mirror.test/h.test:8443/a/b.tar?x=1".to_owned()),
            ("https://dist.test/{name}", "https://dist.test/b.tar".to_owned()),
        ] {
            assert_eq!(rescue_uri(url, &uri, &digest).unwrap().as_str(), place);
        }
        assert!(rescue_uri("{host}", &uri, &digest).is_err());
    }
}
