//! A proxy on the way out, where a network lets nothing else through. Only the configuration names one; the environment is
//! not looked at.
//!
//! What goes through it is resolved and dialled by the proxy, out of sight of the address guard. So addresses are judged as
//! they are written, and names by what they say: those that only a local network has are not asked for.

use std::{fmt, io};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use distmirror_core::{Authority, Host, Scheme, Uri};
use http::{HeaderValue, Request, header};
use http_body_util::Empty;
use hyper::{client::conn::http1, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// A proxy that is asked in plain HTTP.
#[derive(Clone)]
pub struct OutboundProxy {
    /// Where it is; not subject to the address guard.
    pub authority: Authority,
    /// The user name and the password that it wants.
    pub credentials: Option<(String, String)>,
    /// Domains that are reached without it, each with everything below it, and addresses.
    pub except: Vec<String>,
}

impl fmt::Debug for OutboundProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.credentials.as_ref().map(|(user, _)| user);
        let Self { authority, except, .. } = self;
        f.debug_struct("OutboundProxy")
            .field("authority", authority)
            .field("user", &user)
            .field("except", except)
            .finish()
    }
}

impl OutboundProxy {
    /// Whether this host is reached through it.
    pub(crate) fn leads_to(&self, host: &Host) -> bool {
        let host = host.bare();
        let is_below = |domain: &String| {
            let domain = domain.trim_start_matches('.');
            host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        !self.except.iter().any(is_below)
    }

    /// What to show to it with a request in plain HTTP, which it sees (RFC 9110 section 11.7.2). In a tunnel it is shown once.
    pub(crate) fn authorization_for(&self, uri: &Uri) -> Option<HeaderValue> {
        let sees_it = uri.scheme() == Scheme::Http && self.leads_to(&uri.authority().host);
        sees_it.then(|| self.authorization()).flatten()
    }

    fn authorization(&self) -> Option<HeaderValue> {
        let (user, password) = self.credentials.as_ref()?;
        let mut value =
            HeaderValue::try_from(format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}"))));
        if let Ok(value) = &mut value {
            value.set_sensitive(true);
        }
        value.ok()
    }

    /// Asks for a tunnel on a connection to the proxy (RFC 9110 section 9.3.6).
    ///
    /// # Errors
    /// What the proxy answered instead.
    pub(crate) async fn tunnel(&self, stream: TcpStream, to: &Authority) -> io::Result<TcpStream> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        let connection = tokio::spawn(connection.with_upgrades());
        let mut request = Request::connect(to.to_string()).header(header::HOST, to.to_string());
        if let Some(authorization) = self.authorization() {
            request = request.header(header::PROXY_AUTHORIZATION, authorization);
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(io::Error::other)?;
        let response = sender.send_request(request).await.map_err(io::Error::other)?;
        if !response.status().is_success() {
            connection.abort();
            return Err(io::Error::other(format!("it answered {}", response.status())));
        }
        let upgraded = hyper::upgrade::on(response).await.map_err(io::Error::other)?;
        taken_back(upgraded)
    }
}

/// The connection inside, on which nothing may have come yet: the client speaks first in TLS.
fn taken_back(upgraded: Upgraded) -> io::Result<TcpStream> {
    let parts = upgraded.downcast::<TokioIo<TcpStream>>().map_err(|_| io::Error::other("it is another connection"))?;
    if parts.read_buf.is_empty() {
        Ok(parts.io.into_inner())
    } else {
        Err(io::Error::other("it sent something before it was asked"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(except: &[&str]) -> OutboundProxy {
        OutboundProxy {
            authority: Authority::parse("proxy.test:3128", 80).unwrap(),
            credentials: Some(("me".to_owned(), "hunter2".to_owned())),
            except: except.iter().map(|domain| (*domain).to_owned()).collect(),
        }
    }

    #[test]
    fn exceptions_are_domains_with_all_below_and_addresses() {
        let proxy = proxy(&["corp.test", ".lab.test", "10.0.0.1", "fd00::1"]);
        for (host, expected) in [
            ("example.org", true),
            ("corp.test", false),
            ("a.b.corp.test", false),
            ("notcorp.test", true),
            ("lab.test", false),
            ("x.lab.test", false),
            ("10.0.0.1", false),
            ("10.0.0.10", true),
            ("[fd00::1]", false),
            ("[fd00::2]", true),
        ] {
            assert_eq!(proxy.leads_to(&Host::parse(host).unwrap()), expected, "{host}");
        }
    }

    #[test]
    fn the_password_goes_to_the_proxy_only_and_into_no_log() {
        let proxy = proxy(&["corp.test"]);
        for (uri, shown) in [("http://h.test/x", true), ("https://h.test/x", false), ("http://corp.test/x", false)] {
            assert_eq!(proxy.authorization_for(&uri.parse().unwrap()).is_some(), shown, "{uri}");
        }
        let written = format!("{proxy:?} {:?}", proxy.authorization());
        assert!(written.contains("me") && !written.contains("hunter2") && !written.contains("bWU6"), "{written}");
    }
}
