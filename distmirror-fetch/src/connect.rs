//! The connector of the upstream client: resolves once, checks every address, dials only what it checked.
//!
//! No proxy of the environment is looked at; for one of the configuration see [`outbound`](crate::outbound). There is no second look-up between the check and the dial, and an answer
//! with one address that is not allowed is refused as a whole.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use distmirror_core::{Authority, Host, Sha256};
use futures::future::BoxFuture;
use http::uri::Scheme;
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tower_service::Service;

use crate::{AddressPolicy, Error, OutboundProxy, Refusal, error};

/// SHA-256 of the certificate that the server showed; an extension of every response that came over TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerCertificate(pub Sha256);

/// Connects to what the policy allows; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct GuardedConnector {
    policy: Arc<AddressPolicy>,
    proxy: Option<Arc<OutboundProxy>>,
    tls: Arc<ClientConfig>,
    connect_timeout: Duration,
}

impl GuardedConnector {
    pub(crate) fn new(
        policy: AddressPolicy,
        proxy: Option<Arc<OutboundProxy>>,
        tls: ClientConfig,
        connect_timeout: Duration,
    ) -> Self {
        Self { policy: Arc::new(policy), proxy, tls: Arc::new(tls), connect_timeout }
    }

    async fn connect(self, uri: http::Uri) -> Result<TokioIo<UpstreamStream>, Error> {
        let secure = uri.scheme() == Some(&Scheme::HTTPS);
        let text = uri.authority().map_or("", http::uri::Authority::as_str);
        let authority = Authority::parse(text, if secure { 443 } else { 80 })
            .map_err(|error| Error::Host { host: text.to_owned(), problem: error.to_string() })?;
        let proxy = self.proxy.as_ref().filter(|proxy| proxy.leads_to(&authority.host));
        let stream = match proxy {
            None => {
                let addresses = self.addresses(&authority).await?;
                self.dial(&authority, &addresses).await?
            }
            Some(proxy) => self.through(proxy, &authority, secure).await?,
        };
        Ok(TokioIo::new(match (secure, proxy) {
            (true, _) => self.secure(&authority, stream).await?,
            (false, None) => UpstreamStream::Plain(stream),
            (false, Some(_)) => UpstreamStream::Proxied(stream),
        }))
    }

    /// A connection to the proxy, and with `tunnel` through it to the host.
    async fn through(&self, proxy: &OutboundProxy, authority: &Authority, tunnel: bool) -> Result<TcpStream, Error> {
        self.policy.check_unresolved(authority).map_err(|refusal| match authority.host.address() {
            Some(address) => not_allowed(authority, address, refusal),
            None => Error::NameNotAllowed { host: authority.host.to_string(), refusal },
        })?;
        // Who configures a proxy says thereby that its address may be reached.
        let addresses = resolve(&proxy.authority).await?;
        let stream = self.dial(&proxy.authority, &addresses).await?;
        if !tunnel {
            return Ok(stream);
        }
        self.in_time(proxy.tunnel(stream, authority)).await.map_err(|source| Error::Proxy {
            proxy: proxy.authority.to_string(),
            host: authority.to_string(),
            source,
        })
    }

    /// Every address of the host, each of them allowed.
    async fn addresses(&self, authority: &Authority) -> Result<Vec<SocketAddr>, Error> {
        let addresses = resolve(authority).await?;
        for address in &addresses {
            self.policy.check(*address).map_err(|refusal| not_allowed(authority, address.ip(), refusal))?;
        }
        Ok(addresses)
    }

    /// Connects to the first address that accepts.
    async fn dial(&self, authority: &Authority, addresses: &[SocketAddr]) -> Result<TcpStream, Error> {
        let mut failed = unresolvable(authority, io::Error::other("the answer has no address"));
        for address in addresses {
            match self.in_time(TcpStream::connect(address)).await {
                Ok(stream) => {
                    // Requests are small and written at once: nothing is gained by waiting for more.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Err(source) => failed = Error::Unreachable { host: authority.to_string(), address: *address, source },
            }
        }
        Err(failed)
    }

    async fn secure(&self, authority: &Authority, stream: TcpStream) -> Result<UpstreamStream, Error> {
        let handshake = TlsConnector::from(Arc::clone(&self.tls)).connect(server_name(&authority.host)?, stream);
        match self.in_time(handshake).await {
            Ok(stream) => Ok(UpstreamStream::Tls(Box::new(stream))),
            Err(source) => Err(Error::Handshake { host: authority.to_string(), source }),
        }
    }

    async fn in_time<T>(&self, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        timeout(self.connect_timeout, work).await.unwrap_or_else(|_| Err(error::timed_out(self.connect_timeout)))
    }
}

impl Service<http::Uri> for GuardedConnector {
    type Response = TokioIo<UpstreamStream>;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Self::Response, Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: http::Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

async fn resolve(authority: &Authority) -> Result<Vec<SocketAddr>, Error> {
    if let Some(literal) = authority.host.address() {
        return Ok(vec![SocketAddr::new(literal, authority.port)]);
    }
    let answer = tokio::net::lookup_host((authority.host.bare(), authority.port)).await;
    answer.map(Iterator::collect).map_err(|source| unresolvable(authority, source))
}

fn not_allowed(authority: &Authority, address: IpAddr, refusal: Refusal) -> Error {
    Error::AddressNotAllowed { host: authority.host.to_string(), address, refusal }
}

fn unresolvable(authority: &Authority, source: io::Error) -> Error {
    Error::Unresolvable { host: authority.host.to_string(), source }
}

fn server_name(host: &Host) -> Result<ServerName<'static>, Error> {
    ServerName::try_from(host.bare())
        .map_err(|error| Error::Host { host: host.to_string(), problem: error.to_string() })
}

/// A connection to upstream.
#[derive(Debug)]
pub(crate) enum UpstreamStream {
    Plain(TcpStream),
    /// To a proxy, which is told in each request where it is to go.
    Proxied(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl UpstreamStream {
    fn inner(self: Pin<&mut Self>) -> Pin<&mut dyn ReadWrite> {
        let inner: &mut dyn ReadWrite = match self.get_mut() {
            Self::Plain(stream) | Self::Proxied(stream) => stream,
            Self::Tls(stream) => stream.as_mut(),
        };
        Pin::new(inner)
    }
}

trait ReadWrite: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> ReadWrite for T {}

impl Connection for UpstreamStream {
    fn connected(&self) -> Connected {
        let stream = match self {
            Self::Plain(_) => return Connected::new(),
            Self::Proxied(_) => return Connected::new().proxy(true),
            Self::Tls(stream) => stream,
        };
        let (_, session) = stream.get_ref();
        let connected = match session.peer_certificates().and_then(<[_]>::first) {
            Some(leaf) => Connected::new().extra(PeerCertificate(Sha256::of(leaf))),
            None => Connected::new(),
        };
        if session.alpn_protocol() == Some(b"h2") { connected.negotiated_h2() } else { connected }
    }
}

impl AsyncRead for UpstreamStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_read(cx, buffer)
    }
}

impl AsyncWrite for UpstreamStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.inner().poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_shutdown(cx)
    }
}
