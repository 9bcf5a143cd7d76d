//! One connection: its protocol, and the one path of each request: face, resolution, answer.

use std::{
    convert::Infallible,
    future::{self, Future},
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use distmirror_core::{Artifact, ArtifactId, ArtifactName, Digest, Held, MissReport, Resolution, UsedBy};
use http::{HeaderMap, Method, Request, Response, header, request::Parts};
use http_body_util::BodyExt;
use hyper::{body::Incoming, server::conn::http1, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use jiff::Timestamp;
use rustls::AlertDescription;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::watch,
};
use tracing::Instrument;

use crate::{
    User, access,
    access_log::Exchange,
    activity::{Watched, Work},
    answer,
    body::Body,
    connect,
    face::{self, Face, Via},
    handshake::{self, Prefixed},
    linger::Lingering,
    listener::{Entrance, limit_stalls, meant_by_name},
    refusal::{Code, Refusal},
    registry,
    serve::Shared,
    site,
    slots::Slot,
    tally::Tally,
};

/// One client connection, and what it needs to answer.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    pub(crate) shared: Arc<Shared>,
    pub(crate) client: SocketAddr,
    /// Whether its client may use this proxy.
    is_admitted: bool,
    /// Who opened the tunnel that this is, if somebody signed in for it.
    user: Option<User>,
    /// How its requests are meant.
    pub(crate) via: Via,
    /// Told something when it is to end after what is running, and closed when it is to end at once.
    stopped: watch::Receiver<()>,
    /// Given back when nothing of this connection is left.
    slot: Arc<Slot>,
}

impl Connection {
    pub(crate) fn new(shared: Arc<Shared>, client: SocketAddr, slot: Slot, stopped: watch::Receiver<()>) -> Self {
        let is_admitted = access::admits(&shared.options.allow_clients, client.ip());
        Self { shared, client, is_admitted, user: None, via: Via::Plain, stopped, slot: Arc::new(slot) }
    }

    /// The same, with requests that mean something else.
    pub(crate) fn via(self, via: Via) -> Self {
        Self { via, ..self }
    }

    /// Inside a tunnel, opened by a request with these fields.
    ///
    /// # Errors
    /// 407 for those who have to sign in.
    pub(crate) fn tunnelled(&self, fields: &HeaderMap) -> Result<Self, Refusal> {
        let users = &self.shared.options.users;
        let user = access::signed_in(users, fields.get(header::PROXY_AUTHORIZATION)).cloned();
        if user.is_none() && !users.is_empty() {
            return Err(Refusal::sign_in(Code::SignInAtProxy, fields));
        }
        Ok(Self { user, ..self.clone() })
    }

    pub(crate) fn accepted(self, stream: TcpStream, entrance: Entrance) -> impl Future<Output = ()> {
        let _ = stream.set_nodelay(true);
        limit_stalls(&stream, self.shared.options.idle_timeout);
        let local = stream.local_addr().map_or(IpAddr::from([0; 4]), |address| address.ip());
        let stream = Watched::new(Lingering::new(stream), Arc::clone(&self.slot));
        self.enter(stream, local, entrance)
    }

    /// Answers what comes in at such an entrance; `local` is the address of this end.
    pub(crate) async fn enter<S>(self, stream: S, local: IpAddr, entrance: Entrance)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        match entrance {
            Entrance::Proxy => self.serve(stream, false).await,
            Entrance::TransparentHttp => self.via(Via::Redirected).serve(stream, false).await,
            // Boxed, so that connections without TLS do not carry the size of a handshake.
            Entrance::ProxyTls | Entrance::TransparentHttps => Box::pin(self.enter_tls(stream, local, entrance)).await,
        }
    }

    async fn enter_tls<S>(self, stream: S, local: IpAddr, entrance: Entrance)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (shared, client) = (Arc::clone(&self.shared), self.client);
        let is_admitted = self.is_admitted;
        let meant = |asked: Option<&str>| match entrance {
            // No leaf is minted for whom it is no use.
            _ if !is_admitted => Err(AlertDescription::AccessDenied),
            Entrance::ProxyTls => shared.own_hosts.meant(asked, local),
            _ => meant_by_name(asked),
        };
        if let Err(problem) = handshake::serve(self, Prefixed::new(Bytes::new(), stream), meant).await {
            tracing::debug!(?entrance, %client, %problem, "TLS handshake failed");
        }
    }

    /// Answers the requests of this connection, in the protocol that was agreed on.
    pub(crate) async fn serve<S>(self, stream: S, is_http2: bool)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (builder, stopped, slot) = (self.http1(), self.stopped.clone(), Arc::clone(&self.slot));
        let (limit, connection) = (self.shared.options.idle_timeout, Arc::new(self));
        let service = service_fn(move |request| {
            let (connection, work) = (Arc::clone(&connection), Work::begin(&connection.slot));
            async move {
                let answer = connection.answer(request).await;
                drop(work);
                Ok::<_, Infallible>(answer)
            }
        });
        if is_http2 {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder.timer(TokioTimer::new()).max_concurrent_streams(HTTP2_STREAMS);
            let served = Box::pin(builder.serve_connection(TokioIo::new(stream), service));
            // Half of it until the client is told to end, and half for doing so.
            let (activity, limit) = (&slot.activity, limit / 2);
            let (quiet, stalled) = (activity.quiet(limit), activity.stalled(activity.so_far(), limit));
            run(served, |served| served.graceful_shutdown(), stopped, quiet, stalled).await;
        } else {
            let served = Box::pin(builder.serve_connection(TokioIo::new(stream), service).with_upgrades());
            let (quiet, stalled) = (future::pending(), future::pending());
            run(served, |served| served.graceful_shutdown(), stopped, quiet, stalled).await;
        }
    }

    fn http1(&self) -> http1::Builder {
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(self.shared.options.header_timeout)
            .max_buf_size(MAX_HEAD_BYTES);
        builder
    }

    /// Answers a request, and tells of it if somebody wants to know.
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let (request, exchange) = Exchange::begin(self, request);
        let Some(exchange) = exchange else { return self.respond(request).await };
        let response = Box::pin(self.respond(request).instrument(exchange.span())).await;
        exchange.end_with(response)
    }

    /// The one path of a request.
    async fn respond(&self, request: Request<Incoming>) -> Response<Body> {
        if !self.is_admitted {
            return Refusal::not_admitted(self.client.ip()).into_response(request.headers());
        }
        if request.method() == Method::CONNECT && self.via.is_to_the_proxy() {
            let fields = request.headers().clone();
            return connect::accept(self, request).unwrap_or_else(|refusal| refusal.into_response(&fields));
        }
        let asked_at = Instant::now();
        let (parts, body) = request.into_parts();
        discard(&parts.headers, body).await;
        let response = self.find(&parts).await.unwrap_or_else(|refusal| refusal.into_response(&parts.headers));
        if parts.method == Method::HEAD { without_body(response) } else { response.map(|body| body.asked_at(asked_at)) }
    }

    async fn find(&self, parts: &Parts) -> Result<Response<Body>, Refusal> {
        let face = face::identify(parts, &self.via, &self.shared.options.own_authorities)?;
        self.check_signed_in(parts, &face)?;
        if parts.method != Method::GET && parts.method != Method::HEAD {
            let refusal = Refusal::new(Code::MethodNotAllowed, format!("`{}` changes nothing here", parts.method));
            return Err(if matches!(face, Face::Registry(_)) { refusal.of_registry() } else { refusal });
        }
        // A connection keeps room for the answer of one request as long as it lives: what most requests do not need is boxed.
        match face {
            Face::Artifact(names) => self.artifact(parts, &names).await,
            Face::Digest(digest) => Box::pin(self.digest(parts, &digest)).await,
            Face::Registry(request) => Box::pin(registry::answer(self, parts, &request)).await,
            Face::Token(registry, uri) => Box::pin(registry::token(self, parts, &registry, uri)).await,
            Face::Site(page) => Box::pin(site::answer(&self.shared, &page, &self.via, parts)).await,
        }
    }

    /// If anybody may sign in, everything is for those who did, but for the pages that say how.
    fn check_signed_in(&self, parts: &Parts, face: &Face) -> Result<(), Refusal> {
        let is_open = self.shared.options.users.is_empty() || matches!(face, Face::Site(_));
        if is_open || self.user(parts).is_some() {
            return Ok(());
        }
        let refusal = if self.via.asks_a_proxy(parts) {
            Refusal::sign_in(Code::SignInAtProxy, &parts.headers)
        } else if self.via.is_to_the_proxy() {
            Refusal::sign_in(Code::SignInAtSite, &parts.headers)
        } else {
            Refusal::new(Code::NotAdmitted, "whoever is redirected here cannot sign in, which this mirror asks for")
        };
        Err(if matches!(face, Face::Registry(_)) { refusal.of_registry() } else { refusal })
    }

    /// Who asks, as far as somebody signed in: for the tunnel, or with the request itself.
    pub(crate) fn user(&self, parts: &Parts) -> Option<&User> {
        if !self.via.is_to_the_proxy() {
            return self.user.as_ref();
        }
        let field = if self.via.asks_a_proxy(parts) { header::PROXY_AUTHORIZATION } else { header::AUTHORIZATION };
        access::signed_in(&self.shared.options.users, parts.headers.get(field))
    }

    pub(crate) async fn artifact(&self, parts: &Parts, names: &[ArtifactName]) -> Result<Response<Body>, Refusal> {
        for name in names {
            let resolution =
                self.shared.mirror.resolve(name).await.map_err(|error| Refusal::from(error).about(name))?;
            match resolution {
                Resolution::Undeclared | Resolution::NotInRepository | Resolution::Unfetched(..) => {}
                Resolution::Present(held) => return self.hit(parts, &held).await,
                Resolution::Withheld(artifact) => return Err(self.withheld(&artifact)),
            }
        }
        let Some(first) = names.first() else { return Err(Refusal::bad_request("nothing is asked for")) };
        self.shared.mirror.missed(self.miss(first, parts));
        Err(Refusal::undeclared(first, &self.shared.options.admin_url))
    }

    async fn digest(&self, parts: &Parts, digest: &Digest) -> Result<Response<Body>, Refusal> {
        match self.shared.mirror.resolve_digest(digest).await? {
            Resolution::Undeclared | Resolution::NotInRepository | Resolution::Unfetched(..) => {
                Err(Refusal::new(Code::UnknownDigest, format!("no declared file has the digest {digest}")))
            }
            Resolution::Present(held) => self.hit(parts, &held).await,
            Resolution::Withheld(artifact) => Err(self.withheld(&artifact)),
        }
    }

    pub(crate) async fn hit(&self, parts: &Parts, held: &Held) -> Result<Response<Body>, Refusal> {
        let answered = answer::hit(&self.shared.mirror, held, &parts.method, &parts.headers).await;
        let response = answered
            .map_err(|refusal| refusal.about(&held.name).linked(held.artifact, &self.shared.options.admin_url))?;
        if !response.status().is_success() {
            return Ok(response);
        }
        Ok(response.map(|body| body.counted(self.tally(held.artifact, parts))))
    }

    fn tally(&self, artifact: ArtifactId, parts: &Parts) -> Tally {
        let project = self.user(parts).and_then(|user| user.project.clone());
        let by = project.map_or_else(|| UsedBy::Client(self.client.ip().to_canonical()), UsedBy::Project);
        Tally::new(Arc::clone(&self.shared.mirror), artifact, by, Arc::clone(&self.slot))
    }

    pub(crate) fn withheld(&self, artifact: &Artifact) -> Refusal {
        Refusal::withheld(artifact, &self.shared.options.admin_url)
    }

    pub(crate) fn miss(&self, name: &ArtifactName, parts: &Parts) -> MissReport {
        let now = Timestamp::now();
        MissReport {
            name: name.clone(),
            count: 1,
            first_seen: now,
            last_seen: now,
            method: parts.method.to_string(),
            client: self.client.ip().to_string(),
            user_agent: user_agent(&parts.headers),
            project: self.user(parts).and_then(|user| user.project.as_deref().map(str::to_owned)),
        }
    }
}

/// Reads a small body to its end, although nothing here needs one: answered before it has come, the connection would have to be
/// closed, and the client might be told of that in the middle of sending (RFC 9112 section 9.6). After what is large or slow the
/// connection ends. Who waits to be told to go on is not told (RFC 9110 section 10.1.1).
async fn discard(headers: &HeaderMap, mut body: Incoming) {
    let is_large = http_body::Body::size_hint(&body).lower() > MAX_DISCARDED_BYTES;
    if http_body::Body::is_end_stream(&body) || is_large || headers.contains_key(header::EXPECT) {
        return;
    }
    let rest = async {
        let mut received = 0;
        while let Some(Ok(frame)) = body.frame().await {
            received += frame.data_ref().map_or(0, Bytes::len) as u64;
            if received > MAX_DISCARDED_BYTES {
                break;
            }
        }
    };
    // Too late is as good as too much.
    let _ = tokio::time::timeout(DISCARD_WITHIN, rest).await;
}

/// The answer to HEAD: how long the body would be, and no body. hyper sees to that in HTTP/1.1 only (RFC 9113 section 8.1.1).
fn without_body(mut response: Response<Body>) -> Response<Body> {
    if let Some(length) = http_body::Body::size_hint(response.body()).exact().filter(|length| *length > 0) {
        response.headers_mut().entry(header::CONTENT_LENGTH).or_insert_with(|| length.into());
    }
    *response.body_mut() = Body::empty();
    response
}

/// What the client calls itself, as far as it is worth keeping.
fn user_agent(fields: &HeaderMap) -> Option<String> {
    let text = fields.get(header::USER_AGENT)?.to_str().ok()?;
    Some(text.chars().take(200).collect())
}

/// Drives a connection to its end. On shutdown, and when it is quiet, it ends after the answer that is running, if that does not
/// take too long and is not `stalled`. Clients that go away are everyday life.
async fn run<C: Future<Output = Result<(), hyper::Error>>>(
    mut connection: Pin<Box<C>>,
    end: fn(Pin<&mut C>),
    mut stopped: watch::Receiver<()>,
    quiet: impl Future<Output = ()>,
    stalled: impl Future<Output = ()>,
) {
    let ended = tokio::select! {
        ended = &mut connection => ended,
        _ = stopped.changed() => {
            end(connection.as_mut());
            tokio::select! {
                ended = connection => ended,
                _ = closed(stopped) => return,
            }
        }
        () = quiet => {
            end(connection.as_mut());
            tokio::select! {
                ended = connection => ended,
                () = stalled => return tracing::debug!("a connection on which nothing moved is cut"),
                _ = closed(stopped) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = distmirror_core::error::chain(&error), "connection ended");
    }
}

/// Waits until no more is told.
async fn closed(mut told: watch::Receiver<()>) {
    while told.changed().await.is_ok() {}
}

/// The most bytes of a request's head.
const MAX_HEAD_BYTES: usize = 32 * 1024;
/// How much of a body is read before the answer, in bytes, and for how long.
const MAX_DISCARDED_BYTES: u64 = 64 * 1024;
const DISCARD_WITHIN: Duration = Duration::from_secs(2);
/// The most requests at a time on one HTTP/2 connection.
const HTTP2_STREAMS: u32 = 128;
