//! An origin on the Internet, played by this process: HTTP and HTTPS on loopback, files and made-up answers.
//!
//! It runs on a thread of its own with a runtime of its own, so a test that blocks does not stop it, and dropping
//! that runtime is what "the upstream is gone" means: listeners and open connections end at once.

mod answer;
mod file;
mod serve;

use std::{
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
};

use bytes::Bytes;
use rustls::ServerConfig;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

pub use self::answer::Answer;
use self::{file::StoredFile, serve::Site};
use crate::{
    authority::Identity,
    place::{free_port, temporary_directory},
};

/// A request as [`Upstream`] saw it, with its whole body.
pub type Seen = hyper::Request<Bytes>;

/// An origin server under the test's control. Dropping it stops it.
#[derive(Debug)]
pub struct Upstream {
    site: Arc<Site>,
    server_config: Arc<ServerConfig>,
    http_port: u16,
    https_port: u16,
    running: Mutex<Option<Running>>,
    directory: TempDir,
}

#[derive(Debug)]
struct Running {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Upstream {
    /// Starts an origin with no content. Its certificate is good for these host names, `localhost` and 127.0.0.1;
    /// it is signed by a new CA, whose certificate is the file [`Upstream::ca_pem_path`].
    ///
    /// # Panics
    ///
    /// When a host name cannot be put into a certificate.
    pub async fn start(host_names: &[&str]) -> Self {
        let directory = temporary_directory();
        let identity = Identity::new(host_names);
        std::fs::write(directory.path().join("ca.pem"), &identity.ca_pem).expect("a fresh directory can be written to");
        let upstream = Self {
            site: Arc::new(Site::default()),
            server_config: Arc::new(identity.server_config()),
            http_port: free_port(),
            https_port: free_port(),
            running: Mutex::new(None),
            directory,
        };
        upstream.restart();
        upstream
    }

    /// Serves these bytes under the path, with an `ETag`, byte ranges, `If-Range` and `If-None-Match`.
    pub fn file(&self, path: &str, bytes: impl Into<Bytes>) {
        self.file_with(path, bytes, &[]);
    }

    /// Like [`Upstream::file`], with more headers; they replace those of the same name.
    ///
    /// # Panics
    ///
    /// When a header is not valid.
    pub fn file_with(&self, path: &str, bytes: impl Into<Bytes>, headers: &[(&str, &str)]) {
        let file = StoredFile::new(bytes.into(), headers);
        self.on(path, move |request| file.answer(request));
    }

    /// Answers requests for the path (a path alone, or with its query) with what the closure makes of them.
    pub fn on(&self, path: &str, answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static) {
        self.site.route(path, Arc::new(answer));
    }

    /// Answers requests for any path that has no answer of its own; without this they get 404.
    pub fn otherwise(&self, answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static) {
        self.site.route_others(Arc::new(answer));
    }

    /// How many requests came for the path (a path alone, or with its query).
    pub fn hits(&self, path: &str) -> usize {
        self.requests(path).len()
    }

    /// The requests that came for the path, oldest first.
    pub fn requests(&self, path: &str) -> Vec<Arc<Seen>> {
        self.site.seen(path)
    }

    /// All requests that came, oldest first.
    pub fn all_requests(&self) -> Vec<Arc<Seen>> {
        self.site.all_seen()
    }

    /// `http://127.0.0.1:PORT` and the path.
    pub fn url(&self, path: &str) -> String {
        self.url_as("127.0.0.1", path)
    }

    /// `http://HOST:PORT` and the path.
    pub fn url_as(&self, host: &str, path: &str) -> String {
        format!("http://{host}:{}{path}", self.http_port)
    }

    /// `https://127.0.0.1:PORT` and the path.
    pub fn https_url(&self, path: &str) -> String {
        self.https_url_as("127.0.0.1", path)
    }

    /// `https://HOST:PORT` and the path.
    pub fn https_url_as(&self, host: &str, path: &str) -> String {
        format!("https://{host}:{}{path}", self.https_port)
    }

    /// The port of the plain server.
    pub fn http_port(&self) -> u16 {
        self.http_port
    }

    /// The port of the TLS server.
    pub fn https_port(&self) -> u16 {
        self.https_port
    }

    /// The certificate of the CA that signed this origin's certificate.
    pub fn ca_pem_path(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// Upstream is gone: nobody listens any more, and open connections end at once.
    pub fn stop(&self) {
        if let Some(running) = self.running().take() {
            // An error means that the thread has already ended, which is what is wanted.
            let _ = running.stop.send(());
            let _ = running.thread.join();
        }
    }

    /// Upstream is back, on the same ports and with the same content. Does nothing while it runs.
    ///
    /// # Panics
    ///
    /// When somebody else has taken a port.
    pub fn restart(&self) {
        let mut running = self.running();
        if running.is_some() {
            return;
        }
        let (plain, tls) = (listen(self.http_port), listen(self.https_port));
        let site = Arc::clone(&self.site);
        let acceptor = TlsAcceptor::from(Arc::clone(&self.server_config));
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || serve::serve(plain, tls, &acceptor, &site, stopped));
        *running = Some(Running { stop, thread });
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.stop();
    }
}

fn listen(port: u16) -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap_or_else(|error| panic!("port {port}: {error}"))
}
