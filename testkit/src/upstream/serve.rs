//! Accepting, reading requests, finding the answer. One thread, one task per connection.

use std::{
    collections::HashMap,
    convert::Infallible,
    fmt,
    net::TcpListener,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http_body_util::BodyExt;
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::oneshot,
};
use tokio_rustls::TlsAcceptor;

use super::{Answer, Seen, answer::AnswerBody};

type Handler = Arc<dyn Fn(&Seen) -> Answer + Send + Sync>;

/// What the origin serves and what it was asked for; outlives a stop and a restart.
#[derive(Default)]
pub(super) struct Site(Mutex<Content>);

#[derive(Default)]
struct Content {
    routes: HashMap<String, Handler>,
    others: Option<Handler>,
    seen: Vec<Arc<Seen>>,
}

impl Site {
    pub(super) fn route(&self, path: &str, handler: Handler) {
        self.content().routes.insert(path.to_owned(), handler);
    }

    pub(super) fn route_others(&self, handler: Handler) {
        self.content().others = Some(handler);
    }

    pub(super) fn seen(&self, path: &str) -> Vec<Arc<Seen>> {
        let asked_for = |request: &Seen| request.uri().path() == path || path_and_query(request) == path;
        self.content().seen.iter().filter(|request| asked_for(request)).map(Arc::clone).collect()
    }

    pub(super) fn all_seen(&self) -> Vec<Arc<Seen>> {
        self.content().seen.clone()
    }

    /// Notes the request and answers it. The lock is not held while the test's closure runs, which may ask for hits.
    fn answer(&self, request: Seen) -> Answer {
        let request = Arc::new(request);
        let handler = self.note(&request);
        handler.map_or_else(|| Answer::new(404), |handler| handler(&request))
    }

    fn note(&self, request: &Arc<Seen>) -> Option<Handler> {
        let mut content = self.content();
        content.seen.push(Arc::clone(request));
        let routes = &content.routes;
        let exact = routes.get(path_and_query(request)).or_else(|| routes.get(request.uri().path()));
        exact.or(content.others.as_ref()).cloned()
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Site {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let content = self.content();
        let paths = content.routes.keys().collect::<Vec<_>>();
        formatter.debug_struct("Site").field("paths", &paths).field("requests", &content.seen.len()).finish()
    }
}

/// Serves until `stopped`; returning drops the runtime, and with it every connection.
pub(super) fn serve(
    plain: TcpListener,
    tls: TcpListener,
    acceptor: &TlsAcceptor,
    site: &Arc<Site>,
    stopped: oneshot::Receiver<()>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
    runtime.block_on(async {
        let serve_plain = accept(plain, async |connection| {
            tokio::spawn(serve_connection(connection, Arc::clone(site)));
        });
        let serve_tls = accept(tls, async |connection| {
            let (acceptor, site) = (acceptor.clone(), Arc::clone(site));
            tokio::spawn(async move {
                // A client that refuses the certificate is the test's business, not the origin's.
                if let Ok(connection) = acceptor.accept(connection).await {
                    serve_connection(connection, site).await;
                }
            });
        });
        tokio::select! {
            () = serve_plain => {}
            () = serve_tls => {}
            _ = stopped => {}
        }
    });
}

async fn accept(listener: TcpListener, serve: impl AsyncFn(TcpStream)) {
    listener.set_nonblocking(true).expect("a listener can be made non-blocking");
    let listener = tokio::net::TcpListener::from_std(listener).expect("the runtime takes a listener");
    loop {
        if let Ok((connection, _)) = listener.accept().await {
            serve(connection).await;
        }
    }
}

async fn serve_connection(connection: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, site: Arc<Site>) {
    let service = service_fn(move |request| respond(request, Arc::clone(&site)));
    let builder = auto::Builder::new(TokioExecutor::new());
    // An error is a connection that ended; what the client made of it is what the test looks at.
    let _ = builder.serve_connection(TokioIo::new(connection), service).await;
}

async fn respond(request: Request<Incoming>, site: Arc<Site>) -> Result<Response<AnswerBody>, Infallible> {
    let (head, body) = request.into_parts();
    // A body that does not come whole is noted as far as nothing; the client has gone by then.
    let body = body.collect().await.map(|collected| collected.to_bytes()).unwrap_or_default();
    let method = head.method.clone();
    let answer = site.answer(Request::from_parts(head, body));
    Ok(answer.into_response(&method).await)
}

fn path_and_query(request: &Seen) -> &str {
    request.uri().path_and_query().map_or("/", |path| path.as_str())
}
