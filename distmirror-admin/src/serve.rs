//! Taking connections: with a limit on their number, a time limit on request heads, patience when descriptors run out, and
//! a graceful end.

use std::{convert::Infallible, future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use poem::{
    Endpoint,
    http::uri::Scheme,
    web::{LocalAddr, RemoteAddr},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};

use crate::{Error, Result, app::App};

/// The most connections at a time; more wait in the listener's queue.
const MAX_CONNECTIONS: usize = 512;
/// How long a request head may take; also how long a connection may be idle.
const HEAD_WITHIN: Duration = Duration::from_secs(30);
/// How long the end of running requests is waited for.
const DRAIN_WITHIN: Duration = Duration::from_secs(10);
/// How long to wait when no connection can be taken, which happens when descriptors run out.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(200);

/// Serves until `shutdown` resolves.
pub(crate) async fn serve(app: App, listener: TcpListener, shutdown: impl Future<Output = ()> + Send) -> Result<()> {
    let local = listener.local_addr().map_err(Error::Listener)?;
    let app = Arc::new(app);
    let connections = GracefulShutdown::new();
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    tokio::pin!(shutdown);
    loop {
        let (permit, stream, remote) = tokio::select! {
            accepted = accept(&listener, &permits) => accepted,
            () = &mut shutdown => break,
        };
        let connection = connections.watch(connection(Arc::clone(&app), stream, local, remote));
        tokio::spawn(async move {
            let _permit = permit;
            if let Err(error) = connection.await {
                tracing::debug!(%remote, %error, "a connection ended early");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_WITHIN, connections.shutdown()).await.is_err() {
        tracing::warn!("requests were still running when the admin port closed");
    }
    Ok(())
}

/// The next connection, once there may be another one. An error is logged and waited out: it concerns one connection, or
/// passes.
async fn accept(listener: &TcpListener, permits: &Arc<Semaphore>) -> (OwnedSemaphorePermit, TcpStream, SocketAddr) {
    let permit = Arc::clone(permits).acquire_owned().await.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => return (permit, stream, remote),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot take a connection on the admin port");
                tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
            }
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

fn connection(
    app: Arc<App>,
    stream: TcpStream,
    local: SocketAddr,
    remote: SocketAddr,
) -> impl hyper_util::server::graceful::GracefulConnection<Error = hyper::Error> + Send {
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let app = Arc::clone(&app);
        async move {
            let request = (request, LocalAddr(local.into()), RemoteAddr(remote.into()), Scheme::HTTP);
            Ok::<_, Infallible>(hyper::Response::from(app.get_response(request.into()).await))
        }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .serve_connection(TokioIo::new(stream), service)
}
