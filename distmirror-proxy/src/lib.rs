//! The proxy: the faces in which clients reach stored artifacts.
//!
//! A request becomes a [face] (who is asked for, canonically), the face a resolution (what is known of it), and that
//! an answer: stored bytes, or a refusal that says what to do. This crate opens no outbound connection but those of the
//! catalog and the blob store that it is handed; it has no HTTP client.
//!
//! Start reading at [`Proxy`], then `connection`, `face`, `answer`.
//!
//! # Examples
//! ```no_run
//! use std::sync::Arc;
//!
//! use distmirror_core::{Mirror, memory::{MemoryBlobStore, MemoryCatalog}};
//! use distmirror_proxy::{CertificateAuthority, Options, Proxy};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let mirror = Mirror::new(Arc::new(MemoryCatalog::new()), Arc::new(MemoryBlobStore::new()), Default::default());
//! let authority = CertificateAuthority::load_or_create("ca".as_ref())?;
//! let proxy = Proxy::new(Arc::new(mirror), authority, Options::default());
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:3128").await?;
//! proxy.serve(vec![listener], async { tokio::signal::ctrl_c().await.unwrap_or_default() }).await;
//! # Ok(())
//! # }
//! ```

mod access;
mod access_log;
mod activity;
mod answer;
mod authority;
mod body;
pub mod condition;
mod connect;
mod connection;
pub mod face;
mod file;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod handshake;
mod leaf;
mod linger;
mod listener;
mod metrics;
pub mod range;
mod refusal;
mod registry;
mod serve;
mod site;
mod slots;
mod tally;
mod tls;

use std::{fmt, path::Path, sync::Arc, time::Duration};

use ipnet::IpNet;

pub use crate::{
    access::User,
    authority::{CERTIFICATE_FILE, CertificateAuthority, KEY_FILE},
    body::Body,
    listener::{Entrance, Listener, bind},
    metrics::describe_metrics,
    serve::Proxy,
};

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What keeps a proxy from starting or from minting.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The certificate authority cannot be used.
    #[error("`{file}` {problem}")]
    Authority {
        /// The file or folder.
        file: String,
        /// What is wrong with it, and the remedy.
        problem: String,
    },
    /// A leaf cannot be signed.
    #[error("cannot sign a certificate for `{host}`: {problem}")]
    Mint {
        /// The host.
        host: String,
        /// Why.
        problem: String,
    },
}

impl Error {
    fn authority(file: &Path, problem: impl Into<String>) -> Self {
        Self::Authority { file: file.display().to_string(), problem: problem.into() }
    }
}

/// How a proxy behaves.
#[derive(Clone)]
pub struct Options {
    /// Where people declare artifacts, without a slash at the end; refusals link there.
    pub admin_url: String,
    /// The URL that clients are told to use, as `SCHEME://HOST:PORT`; `None`: whatever they used to ask.
    pub public_url: Option<String>,
    /// Names by which clients reach this proxy itself, as `HOST:PORT`; asked for under one of them, it answers as its own site.
    pub own_authorities: Vec<String>,
    /// The networks whose machines may use this proxy; empty: all. Others are refused, whatever they ask for.
    pub allow_clients: Vec<IpNet>,
    /// Who may sign in. If anybody may, everybody must, but for the pages that say how.
    pub users: Vec<User>,
    /// How long a client may take to send the head of a request, the next one of a connection included.
    pub header_timeout: Duration,
    /// How long a client may take from CONNECT, or from the connection, to the end of the TLS handshake.
    pub handshake_timeout: Duration,
    /// How long nothing may happen on a connection: a client asks nothing on one of HTTP/2, or takes nothing of what it asked for.
    pub idle_timeout: Duration,
    /// The most connections at a time; others are refused.
    pub max_connections: usize,
    /// The most of them from one address; from one /64 with IPv6.
    pub max_connections_per_address: usize,
    /// How many leaf certificates are remembered.
    pub cached_leaves: u64,
    /// How often gathered misses and uses are reported to the catalog.
    pub report_every: Duration,
    /// How long running answers may go on after the shutdown signal.
    pub drain: Duration,
    /// The text of `/metrics`.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            admin_url: "http://127.0.0.1:8080".to_owned(),
            public_url: None,
            own_authorities: Vec::new(),
            allow_clients: Vec::new(),
            users: Vec::new(),
            header_timeout: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(60),
            max_connections: 16_384,
            max_connections_per_address: 4096,
            cached_leaves: 16_384,
            report_every: Duration::from_secs(1),
            drain: Duration::from_secs(20),
            metrics: Arc::new(String::new),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("admin_url", &self.admin_url)
            .field("own_authorities", &self.own_authorities)
            .field("allow_clients", &self.allow_clients)
            .finish_non_exhaustive()
    }
}
