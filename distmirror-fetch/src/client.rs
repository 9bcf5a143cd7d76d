//! The upstream client: every byte from the Internet comes through here, and every dial through the guarded connector.
//!
//! It asks for the bytes as they are (`Accept-Encoding: identity`), decodes nothing, follows redirects by its own loop
//! with every rule at every hop, and looks at no environment variable. Its failures show no secret of a URL.

use std::{
    error::Error as StdError,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use distmirror_core::{Failure, Source, Uri};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{self, Client},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::time::timeout;
use tracing::{Instrument, field};

use crate::{
    AddressPolicy, Error, FetchOptions, OutboundProxy,
    connect::{GuardedConnector, PeerCertificate},
    headers, redirect, tls,
    transfer::Pace,
};

/// Asks upstream; cheap to clone, and clones share their connections.
#[derive(Debug, Clone)]
pub struct UpstreamClient {
    http: Client<GuardedConnector, Empty<Bytes>>,
    proxy: Option<Arc<OutboundProxy>>,
    /// From asking to the header of the answer, connecting included.
    header_timeout: Duration,
    pace: Pace,
}

/// The answer at the end of all redirects, its body still to come.
#[derive(Debug)]
pub struct Answer {
    /// The answer itself; any status but a redirect.
    pub response: Response<Incoming>,
    /// Who gave it.
    pub final_uri: Uri,
    /// Who redirected on the way there, in order.
    pub redirects: Vec<Uri>,
}

impl Answer {
    /// The record of where the bytes came from. Secrets that a URL carries in its query are not recorded.
    pub fn source(&self) -> Source {
        let certificate = self.response.extensions().get::<PeerCertificate>();
        Source {
            final_url: self.final_uri.redacted(),
            redirects: self.redirects.iter().map(Uri::redacted).collect(),
            peer_certificate_sha256: certificate.map(|certificate| certificate.0.hex()),
            note: None,
        }
    }

    /// The failure that this answer means, which is none of those that bring anything.
    pub(crate) fn refusal(&self) -> Failure {
        let status = self.response.status();
        let mut failure = Failure::new(format!("`{}` answered {status}", self.final_uri.redacted()));
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            let value = self.response.headers().get(header::RETRY_AFTER);
            failure.retry_after = value.and_then(|value| headers::retry_after(value, SystemTime::now()));
        }
        failure
    }
}

impl UpstreamClient {
    /// A client with these options.
    ///
    /// # Errors
    /// [`Error::AllowAddresses`] and [`Error::TrustedRoots`] for entries that cannot be read, [`Error::Tls`].
    pub fn new(options: &FetchOptions) -> Result<Self, Error> {
        let policy = AddressPolicy::new(&options.allow_addresses, options.own_listeners.clone())?;
        let tls = tls::client_config(&options.trusted_roots)?;
        let proxy = options.proxy.clone().map(Arc::new);
        let http = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .build(GuardedConnector::new(policy, proxy.clone(), tls, options.connect_timeout));
        let header_timeout = options.connect_timeout.saturating_add(options.idle_timeout);
        let pace = Pace { idle_timeout: options.idle_timeout, minimum_rate: options.minimum_rate };
        Ok(Self { http, proxy, header_timeout, pace })
    }

    /// How slow a body may come.
    pub(crate) fn pace(&self) -> Pace {
        self.pace
    }

    /// Asks for a URI with these headers besides the usual ones, and follows redirects.
    ///
    /// # Errors
    /// When an address is not allowed, nothing can be reached, no header comes in time, or a redirect is refused.
    pub async fn get(&self, uri: &Uri, headers: &HeaderMap) -> Result<Answer, Failure> {
        self.ask(Method::GET, uri, headers, None).await
    }

    /// As [`get`](Self::get), by another method too. The authorization goes to the origin of the URI only: a redirect that leads
    /// elsewhere is followed without it.
    pub(crate) async fn ask(
        &self,
        method: Method,
        uri: &Uri,
        headers: &HeaderMap,
        authorization: Option<&HeaderValue>,
    ) -> Result<Answer, Failure> {
        self.follow(method, uri, headers, authorization, false).await
    }

    /// As [`ask`](Self::ask); a redirect from https to http is followed if it `may_downgrade`, since a checksum will tell.
    pub(crate) async fn follow(
        &self,
        method: Method,
        uri: &Uri,
        headers: &HeaderMap,
        authorization: Option<&HeaderValue>,
        may_downgrade: bool,
    ) -> Result<Answer, Failure> {
        let origin = uri;
        let mut uri = uri.clone();
        let mut redirects = Vec::new();
        loop {
            let authorization = authorization.filter(|_| same_origin(origin, &uri));
            let response = self.ask_once(&method, &uri, headers, authorization).await?;
            match redirect::next_hop(&uri, &redirects, response.status(), response.headers(), may_downgrade)? {
                Some(next) => redirects.push(std::mem::replace(&mut uri, next)),
                None => return Ok(Answer { response, final_uri: uri, redirects }),
            }
        }
    }

    async fn ask_once(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response<Incoming>, Failure> {
        let attempted = || format!("cannot fetch `{}`", uri.redacted());
        let request = request(method, uri, headers, authorization);
        let mut request = request.map_err(|error| Failure::because(attempted(), &error))?;
        if let Some(authorization) = self.proxy.as_ref().and_then(|proxy| proxy.authorization_for(uri)) {
            request.headers_mut().insert(header::PROXY_AUTHORIZATION, authorization);
        }
        let span = tracing::trace_span!(
            "upstream",
            otel.name = %method,
            otel.kind = "client",
            http.request.method = %method,
            url.full = uri.redacted(),
            server.address = %uri.authority().host,
            http.response.status_code = field::Empty,
        );
        match timeout(self.header_timeout, self.send(request)).instrument(span.clone()).await {
            Ok(Ok(response)) => {
                span.record("http.response.status_code", i64::from(response.status().as_u16()));
                Ok(response)
            }
            Ok(Err(error)) => Err(Failure::because(attempted(), cause(&error))),
            Err(_) => Err(Failure::new(format!(
                "{}: timed out, no header of an answer within {:?}",
                attempted(),
                self.header_timeout
            ))),
        }
    }

    /// Sends a request, and once more if the connection failed before an answer: a kept connection may be closed by upstream
    /// the moment it is used again, and a GET may be repeated (RFC 9110 section 9.2.2).
    async fn send(&self, request: Request<Empty<Bytes>>) -> Result<Response<Incoming>, legacy::Error> {
        match self.http.request(request.clone()).await {
            Err(error) if !error.is_connect() => self.http.request(request).await,
            answered => answered,
        }
    }
}

fn request(
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    authorization: Option<&HeaderValue>,
) -> http::Result<Request<Empty<Bytes>>> {
    let mut request = Request::builder().method(method).uri(uri.as_str()).body(Empty::new())?;
    let fields = request.headers_mut();
    fields.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    fields.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    fields.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    fields.extend(headers.clone());
    if let Some(authorization) = authorization {
        fields.insert(header::AUTHORIZATION, authorization.clone());
    }
    Ok(request)
}

fn same_origin(one: &Uri, other: &Uri) -> bool {
    one.scheme() == other.scheme() && one.authority() == other.authority()
}

/// The error below the one of the client, which only says that the client had an error.
fn cause(error: &legacy::Error) -> &(dyn StdError + 'static) {
    error.source().unwrap_or(error)
}

const USER_AGENT: &str = concat!("distmirror/", env!("CARGO_PKG_VERSION"));

/// How long a connection is kept for the next request.
const POOL_IDLE: Duration = Duration::from_secs(30);
