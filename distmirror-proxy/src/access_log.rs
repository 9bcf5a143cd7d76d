//! What is told of a request once its answer has ended: a line in the log, and a span for traces, if somebody wants them.
//!
//! It names the artifact, without secrets, and of other pages the path: nothing of what stands in a query, in a field or before an
//! `@`, and nothing of what makes no sense. When nobody wants it, a request costs two looks at a flag.

use std::{net::IpAddr, time::Instant};

use distmirror_core::ArtifactId;
use http::{Method, Request, Response, StatusCode, request::Parts};
use tracing::{Level, Span, field};

use crate::{
    body::Body,
    connection::Connection,
    face::{self, Face},
};

/// Whether each request is told of: `log.level = "info,distmirror_proxy::access_log=debug"`.
pub(crate) fn is_wanted() -> bool {
    tracing::event_enabled!(Level::DEBUG) || tracing::span_enabled!(Level::TRACE)
}

/// By which code an answer was counted. Left in its extensions, as long as somebody wants to know.
#[derive(Clone, Copy)]
pub(crate) struct CountedAs(pub(crate) &'static str);

/// A request and its answer, told of when this is dropped.
#[derive(Debug)]
pub(crate) struct Exchange {
    span: Span,
    asked_at: Instant,
    client: IpAddr,
    user: Option<String>,
    method: Method,
    face: &'static str,
    name: String,
    answer: Option<(StatusCode, &'static str, Option<ArtifactId>)>,
    bytes: u64,
}

impl Exchange {
    /// A request that came in, if anybody wants to know of it.
    pub(crate) fn begin<B>(connection: &Connection, request: Request<B>) -> (Request<B>, Option<Box<Self>>) {
        if !is_wanted() {
            return (request, None);
        }
        let (parts, body) = request.into_parts();
        let exchange = Box::new(Self::of(connection, &parts));
        (Request::from_parts(parts, body), Some(exchange))
    }

    fn of(connection: &Connection, parts: &Parts) -> Self {
        let (face, name) = connection.asked_for(parts);
        let span = tracing::trace_span!(
            "request",
            otel.name = format!("{} {face}", parts.method),
            otel.kind = "server",
            otel.status_code = field::Empty,
            http.request.method = %parts.method,
            http.response.status_code = field::Empty,
            http.response.body.size = field::Empty,
            client.address = %connection.client.ip().to_canonical(),
            distmirror.name = name,
            distmirror.code = field::Empty,
            distmirror.artifact = field::Empty,
        );
        Self {
            span,
            asked_at: Instant::now(),
            client: connection.client.ip().to_canonical(),
            user: connection.user(parts).map(|user| user.name.clone()),
            method: parts.method.clone(),
            face,
            name,
            answer: None,
            bytes: 0,
        }
    }

    /// The span in which it is answered.
    pub(crate) fn span(&self) -> Span {
        self.span.clone()
    }

    /// Tells of it when the body of this answer has ended.
    pub(crate) fn end_with(mut self: Box<Self>, mut response: Response<Body>) -> Response<Body> {
        let code = response.extensions_mut().remove::<CountedAs>().map_or("none", |CountedAs(code)| code);
        self.answer = Some((response.status(), code, response.body().artifact()));
        response.map(|body| body.told_of(self))
    }

    /// So many bytes more were handed to the connection.
    pub(crate) fn add(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let Self { client, user, method, face, name, bytes, .. } = &*self;
        let (status, code, artifact) = match self.answer {
            Some((status, code, artifact)) => (status.as_u16(), code, artifact),
            // The client was gone before there was one.
            None => (0, "none", None),
        };
        // OpenTelemetry knows signed numbers only, and writes others as text.
        self.span.record("http.response.status_code", i64::from(status));
        self.span.record("http.response.body.size", i64::try_from(self.bytes).unwrap_or(i64::MAX));
        self.span.record("distmirror.code", code);
        if let Some(artifact) = artifact {
            self.span.record("distmirror.artifact", field::display(artifact));
        }
        if status >= 500 {
            self.span.record("otel.status_code", "ERROR");
        }
        tracing::debug!(
            %client, user, %method, face, name, status, code, artifact = artifact.map(field::display),
            bytes, seconds = self.asked_at.elapsed().as_secs_f64(), "answered"
        );
    }
}

impl Connection {
    /// The face and the name of what is asked for, as they may be told.
    fn asked_for(&self, parts: &Parts) -> (&'static str, String) {
        if parts.method == Method::CONNECT {
            let host = parts.uri.authority().map(|authority| (authority.host(), authority.port_u16()));
            let name = host.map(|(host, port)| format!("{host}:{}", port.unwrap_or_default()));
            return ("tunnel", name.unwrap_or_default());
        }
        let path = || parts.uri.path().to_owned();
        match face::identify(parts, &self.via, &self.shared.options.own_authorities) {
            Ok(Face::Artifact(names)) => ("artifact", names.first().map_or_else(path, |name| name.redacted())),
            Ok(Face::Digest(digest)) => ("digest", digest.to_string()),
            Ok(Face::Registry(_)) => ("registry", path()),
            Ok(Face::Token(_, uri)) => ("token", uri.redacted()),
            Ok(Face::Site(_)) => ("site", path()),
            // It may be anything, and hold a password.
            Err(_) => ("none", String::new()),
        }
    }
}
