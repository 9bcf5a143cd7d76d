//! A registry as an upstream: the pull half of the OCI distribution specification, with the sign-in of the Docker registries.
//!
//! Every request goes through the [`UpstreamClient`] and so through all its rules; that is why no client library of others
//! is used here. Credentials go where [`Credentials`] lets them go, and nowhere else.

mod challenge;

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use distmirror_core::{
    Authority, Digest, Failure, Registry, Repository, Scheme, Uri,
    image::manifest::{MAX_MANIFEST_BYTES, MEDIA_TYPES, OCI_INDEX},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use self::challenge::Challenge;
use crate::{
    Answer, Credentials, UpstreamClient,
    credentials::{self, sensitive},
    transfer,
};

/// One repository of a registry, while something is fetched from it: it remembers how it was let in.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    client: &'a UpstreamClient,
    credentials: Option<&'a Credentials>,
    repository: &'a Repository,
    scheme: Scheme,
    authority: Authority,
    authorization: Mutex<Option<HeaderValue>>,
}

/// A manifest as the registry sent it. Nothing of it has been verified.
#[derive(Debug)]
pub(crate) struct SentManifest {
    pub(crate) bytes: Bytes,
    pub(crate) content_type: Option<String>,
    pub(crate) source: distmirror_core::Source,
}

impl<'a> Session<'a> {
    pub(crate) fn new(
        client: &'a UpstreamClient,
        all: &'a [Credentials],
        repository: &'a Repository,
        scheme: Scheme,
    ) -> Self {
        let registry = repository.registry();
        Self {
            client,
            credentials: credentials::for_registry(all, registry, scheme),
            repository,
            scheme,
            authority: registry.upstream(scheme),
            authorization: Mutex::default(),
        }
    }

    /// The registry that is asked.
    pub(crate) fn registry(&self) -> &'a Registry {
        self.repository.registry()
    }

    /// The manifest with this digest or tag.
    pub(crate) async fn manifest(&self, reference: &str) -> Result<SentManifest, Failure> {
        let answer = self.ask(Method::GET, &format!("manifests/{reference}"), &accepting(&MEDIA_TYPES)).await?;
        match answer.response.status() {
            StatusCode::OK => self.receive(answer).await,
            _ => Err(self.refusal(&answer)),
        }
    }

    /// Asks for the manifest with this digest, without bringing it.
    pub(crate) async fn look(&self, digest: &Digest) -> Result<Answer, Failure> {
        self.ask(Method::HEAD, &format!("manifests/{digest}"), &accepting(&MEDIA_TYPES)).await
    }

    /// Whether the registry shows that it has this blob here, of this size.
    pub(crate) async fn has_blob(&self, digest: &Digest, size: u64) -> Result<bool, Failure> {
        let answer = self.ask(Method::HEAD, &format!("blobs/{digest}"), &HeaderMap::new()).await?;
        let length = answer.response.headers().get(header::CONTENT_LENGTH);
        let length: Option<u64> = length.and_then(|value| value.to_str().ok()?.parse().ok());
        Ok(answer.response.status() == StatusCode::OK && length.is_none_or(|length| length == size))
    }

    /// Asks for a blob, from this byte on.
    pub(crate) async fn blob(&self, digest: &Digest, from: u64) -> Result<Answer, Failure> {
        let range = (from > 0).then(|| HeaderValue::try_from(format!("bytes={from}-")).ok()).flatten();
        let headers = range.into_iter().map(|range| (header::RANGE, range)).collect();
        self.ask(Method::GET, &format!("blobs/{digest}"), &headers).await
    }

    /// What refers to the manifest with this digest, as indexes that list it: by the referrers API, or where a registry has
    /// none, by the tag that stands in for it (OCI distribution specification, "Referrers Tag Schema").
    pub(crate) async fn referrers(&self, digest: &Digest) -> Result<Vec<SentManifest>, Failure> {
        let mut answer = self.ask(Method::GET, &format!("referrers/{digest}"), &accepting(&[OCI_INDEX])).await?;
        if answer.response.status() != StatusCode::OK {
            absent(&answer)?;
            let (algorithm, hex) = (digest.algorithm(), digest.hex());
            let tag = format!("manifests/{algorithm}-{}", &hex[..hex.len().min(TAG_HEX_CHARACTERS)]);
            answer = self.ask(Method::GET, &tag, &accepting(&[OCI_INDEX])).await?;
            if answer.response.status() != StatusCode::OK {
                return absent(&answer).map(|()| Vec::new());
            }
        }
        let mut pages = Vec::new();
        loop {
            let next = next_page(&answer);
            pages.push(self.receive(answer).await?);
            match next {
                Some(uri) if self.is_here(&uri) && pages.len() < MAX_PAGES => {
                    answer = self.ask_uri(Method::GET, &uri, &accepting(&[OCI_INDEX])).await?;
                    if answer.response.status() != StatusCode::OK {
                        return Err(self.refusal(&answer));
                    }
                }
                _ => return Ok(pages),
            }
        }
    }

    /// The failure that an answer means, which is none of those that bring anything.
    pub(crate) fn refusal(&self, answer: &Answer) -> Failure {
        let failure = answer.refusal();
        if answer.response.status() != StatusCode::UNAUTHORIZED || !answer.redirects.is_empty() {
            return failure;
        }
        let advice = if self.credentials.is_none() { ": see fetch.credentials" } else { "" };
        self.not_let_in(&format!("{}{advice}", failure.message))
    }

    /// How slow a body may come.
    pub(crate) fn pace(&self) -> transfer::Pace {
        self.client.pace()
    }

    async fn receive(&self, answer: Answer) -> Result<SentManifest, Failure> {
        let source = answer.source();
        let content_type = crate::headers::printable(answer.response.headers(), header::CONTENT_TYPE);
        let bytes = self.read(answer, MAX_MANIFEST_BYTES).await?;
        Ok(SentManifest { bytes, content_type, source })
    }

    /// All of an answer that is small.
    async fn read(&self, answer: Answer, limit: u64) -> Result<Bytes, Failure> {
        let uri = answer.final_uri.redacted();
        let bytes = transfer::receive_small(answer.response.into_body(), limit, self.client.pace()).await;
        bytes.map_err(|failure| Failure { message: format!("`{uri}`: {}", failure.message), ..failure })
    }

    /// Whether this is asked of the same registry in the same way.
    fn is_here(&self, uri: &Uri) -> bool {
        uri.scheme() == self.scheme && uri.authority() == &self.authority
    }

    async fn ask(&self, method: Method, path: &str, headers: &HeaderMap) -> Result<Answer, Failure> {
        let path = format!("/v2/{}/{path}", self.repository.path());
        let uri = Uri::from_parts(self.scheme, self.authority.clone(), &path)
            .map_err(|error| Failure::new(format!("`{}` cannot be asked: {error}", self.repository)))?;
        self.ask_uri(method, &uri, headers).await
    }

    /// Asks, and once more if the registry wants to know who asks.
    async fn ask_uri(&self, method: Method, uri: &Uri, headers: &HeaderMap) -> Result<Answer, Failure> {
        let known = self.authorization().clone();
        let answer = self.client.ask(method.clone(), uri, headers, known.as_ref()).await?;
        // Whoever was redirected to and wants to know has no business with it.
        if answer.response.status() != StatusCode::UNAUTHORIZED || !answer.redirects.is_empty() {
            return Ok(answer);
        }
        let Some(authorization) = self.sign_in(&answer).await? else { return Ok(answer) };
        *self.authorization() = Some(authorization.clone());
        self.client.ask(method, uri, headers, Some(&authorization)).await
    }

    /// What to show to be let in, `None` if there is nothing to show.
    async fn sign_in(&self, answer: &Answer) -> Result<Option<HeaderValue>, Failure> {
        let challenges = Challenge::all(answer.response.headers());
        let find = |scheme: &str| challenges.iter().find(|challenge| challenge.scheme == scheme);
        if let Some(credentials) = self.credentials.filter(|credentials| credentials.username.is_none()) {
            return credentials.header().map(Some).ok_or_else(|| self.not_let_in("its token cannot be sent"));
        }
        match (find("bearer"), find("basic"), self.credentials) {
            (Some(bearer), _, _) => self.token(bearer).await.map(Some),
            (None, Some(_), Some(credentials)) => {
                credentials.header().map(Some).ok_or_else(|| self.not_let_in("its password cannot be sent"))
            }
            (None, ..) => Ok(None),
        }
    }

    /// Gets a token as the challenge says (Docker registry token authentication).
    async fn token(&self, challenge: &Challenge) -> Result<HeaderValue, Failure> {
        let realm = challenge.parameter("realm").ok_or_else(|| self.not_let_in("its challenge names no realm"))?;
        let realm =
            Uri::parse(realm).map_err(|error| self.not_let_in(&format!("its realm cannot be asked: {error}")))?;
        let realm_text = realm.redacted();
        if realm.scheme() == Scheme::Http && self.scheme == Scheme::Https {
            return Err(self.not_let_in(&format!("its realm `{realm_text}` is not https")));
        }
        let password = match self.credentials {
            None => None,
            Some(credentials) if credentials.may_go_to(&realm, self.repository.registry()) => credentials.header(),
            Some(_) => {
                let host = &realm.authority().host;
                return Err(self.not_let_in(&format!(
                    "it wants its password sent to `{host}`: if that is right, name it in token_hosts of its fetch.credentials"
                )));
            }
        };
        let own_scope = format!("repository:{}:pull", self.repository.path());
        let scope = challenge.parameter("scope").unwrap_or(&own_scope);
        let fields = [("service", challenge.parameter("service")), ("scope", Some(scope))];
        let fields: Vec<_> =
            fields.iter().filter_map(|(name, value)| Some(format!("{name}={}", encode((*value)?)))).collect();
        let separator = if realm.query().is_some() { "&" } else { "?" };
        let asked = Uri::parse(&format!("{realm}{separator}{}", fields.join("&")))
            .map_err(|error| self.not_let_in(&format!("its realm cannot be asked: {error}")))?;
        let answer = self.client.ask(Method::GET, &asked, &HeaderMap::new(), password.as_ref()).await?;
        if answer.response.status() != StatusCode::OK {
            let status = answer.response.status();
            let mut failure = self.not_let_in(&format!("`{realm_text}` gives no token, it answered {status}"));
            failure.retry_after = answer.refusal().retry_after;
            return Err(failure);
        }
        let bytes = self.read(answer, MAX_TOKEN_BYTES).await.map_err(|failure| self.not_let_in(&failure.message))?;
        Token::parse(&bytes).ok_or_else(|| self.not_let_in(&format!("`{realm_text}` sent no token")))
    }

    fn not_let_in(&self, why: &str) -> Failure {
        Failure::new(format!("cannot sign in at `{}`: {why}", self.repository.registry()))
    }

    fn authorization(&self) -> std::sync::MutexGuard<'_, Option<HeaderValue>> {
        // A panic elsewhere leaves a whole value: each use is one operation on it.
        self.authorization.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the answer says for sure that there is nothing, or that nothing is given away; trouble is none of both.
fn absent(answer: &Answer) -> Result<(), Failure> {
    let status = answer.response.status();
    let trouble = status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED
        || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
    if trouble { Err(answer.refusal()) } else { Ok(()) }
}

/// The page that follows (RFC 8288), as the referrers API names it.
fn next_page(answer: &Answer) -> Option<Uri> {
    let link = answer.response.headers().get(header::LINK)?.to_str().ok()?;
    let (target, parameters) = link.trim_start().strip_prefix('<')?.split_once('>')?;
    let is_next = parameters.split(';').any(|parameter| matches!(parameter.trim(), "rel=next" | "rel=\"next\""));
    if is_next { answer.final_uri.join(target).ok() } else { None }
}

fn accepting(media_types: &[&str]) -> HeaderMap {
    let value = HeaderValue::try_from(media_types.join(", "));
    value.into_iter().map(|value| (header::ACCEPT, value)).collect()
}

/// For a value in a query: everything but unreserved characters escaped.
fn encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let escape = |byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(escape).collect()
}

/// The answer of a realm.
#[derive(serde::Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

impl Token {
    fn parse(bytes: &[u8]) -> Option<HeaderValue> {
        let answer: Self = serde_json::from_slice(bytes).ok()?;
        let token = [answer.token, answer.access_token].into_iter().flatten().find(|token| !token.is_empty())?;
        sensitive(&format!("Bearer {token}"))
    }
}

/// The largest answer of a realm that is read.
const MAX_TOKEN_BYTES: u64 = 256 * 1024;
/// How many hexadecimal digits of a digest a stand-in tag has.
const TAG_HEX_CHARACTERS: usize = 64;
/// How many pages of referrers are followed.
const MAX_PAGES: usize = 20;
