//! What can be set about fetching. The root crate reads the configuration and fills these in.

use std::{net::SocketAddr, time::Duration};

use uuid::Uuid;

use crate::OutboundProxy;

/// How upstream is reached.
#[derive(Debug, Clone)]
pub struct FetchOptions {
    /// Networks that may be reached although they are not public, as [`AddressPolicy`](crate::AddressPolicy) reads them.
    pub allow_addresses: Vec<String>,
    /// Where this mirror itself listens: never reached, whatever is allowed.
    pub own_listeners: Vec<SocketAddr>,
    /// The proxy on the way out, if there is one.
    pub proxy: Option<OutboundProxy>,
    /// Certificates that are trusted besides those of the system: texts in PEM form, each with one or more of them.
    pub trusted_roots: Vec<String>,
    /// How long one address may take to accept a connection, and the TLS handshake after that.
    pub connect_timeout: Duration,
    /// How long upstream may send nothing, before the header of its answer and in the middle of a body. There is no
    /// limit on a body that makes progress.
    pub idle_timeout: Duration,
    /// How many bytes a second must come of a body, measured over `idle_timeout`; 0 for no limit.
    pub minimum_rate: u64,
}

impl Default for FetchOptions {
    fn default() -> Self {
        Self {
            allow_addresses: Vec::new(),
            own_listeners: Vec::new(),
            proxy: None,
            trusted_roots: Vec::new(),
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            minimum_rate: 1024,
        }
    }
}

/// How the workers work.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
    /// Who they are, for the catalog and the log; different in every process.
    pub name: String,
    /// How many fetches run at once; at least 1.
    pub workers: usize,
    /// How many of them may be from the same host; at least 1.
    pub per_host: usize,
    /// How long to wait from one fetch to the next from the same host, however long it takes.
    pub per_host_pause: Duration,
    /// How many more attempts follow by themselves after the first one failed.
    pub retries: u32,
    /// How long a lease holds without being renewed: after so long another process goes on where this one died.
    pub lease_for: Duration,
    /// How often the catalog is asked for what other processes made due.
    pub poll_interval: Duration,
    /// How long running fetches may go on when the workers are told to stop.
    pub drain: Duration,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self {
            name: format!("worker-{}", Uuid::new_v4().simple()),
            workers: 8,
            per_host: 4,
            per_host_pause: Duration::ZERO,
            retries: 5,
            lease_for: Duration::from_secs(20),
            poll_interval: Duration::from_secs(1),
            drain: Duration::from_secs(10),
        }
    }
}
