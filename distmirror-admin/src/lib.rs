//! The front end for the people who declare artifacts: the REST API, the pages, the probes.
//!
//! It only calls [`Mirror`], and asks upstream through whatever [`TagResolver`] and [`Prober`] it is handed: it opens no connection, reads
//! no file and no environment. Everything that a page or the API needs is compiled in, so nothing is ever loaded from outside.
//!
//! Start reading at `app` (which address leads where), then `guard` (what is refused before anything else), then
//! `api` and `pages`.

mod api;
mod app;
mod assets;
mod fulfil;
mod guard;
mod identity;
mod json;
mod listing;
mod pages;
mod preflight;
mod probes;
mod problem;
mod request;
mod routes;
mod scrubs;
mod serve;
mod site;
mod upload;

use std::{fmt, future::Future, sync::Arc};

use distmirror_core::{Intake, Mirror, Prober, TagResolver};
use tokio::net::TcpListener;

use crate::site::Site;

/// What the admin front end must be told about the place where it runs.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The address under which people reach the admin port, such as `https://mirror.example.org`; for links.
    pub public_url: Option<String>,
    /// How clients reach the proxy, such as `127.0.0.1:3128`; for ready-made command lines.
    pub proxy_address: String,
    /// The CA certificate (with its chain) in PEM, offered to people who set up a client; if it is
    /// empty they are sent to the proxy for it.
    pub ca_pem: String,
    /// More host names under which the admin port may be asked, beside `localhost`, addresses and that of `public_url`.
    pub allowed_hosts: Vec<String>,
    /// Asks registries what a tag names; without one, nobody can be asked.
    pub tag_resolver: Option<Arc<dyn TagResolver>>,
    /// Asks upstream what there is under a URI before it is declared; without one, nobody is asked.
    pub prober: Option<Arc<dyn Prober>>,
    /// Where bytes come in that people supply by hand; without one, they are refused. It must fill the blob store of the mirror.
    pub intake: Option<Intake>,
    /// How many bytes a second a scrub reads that people start here; as many as it can if it is left out.
    pub scrub_bytes_per_second: Option<u64>,
}

/// Why the admin front end could not be set up, or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// `public_url` is not a URL with a host.
    #[error("`{url}` is not the URL of a site: write it as `https://mirror.example.org`")]
    PublicUrl {
        /// What was given.
        url: String,
    },
    /// A page template is broken; cannot happen in a build that passed its tests.
    #[error("cannot read the page templates")]
    Templates(#[from] tera::Error),
    /// The listener cannot be used.
    #[error("cannot use the listener")]
    Listener(#[source] std::io::Error),
}

/// The result of setting up or running the front end.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Renders the metrics of this process as Prometheus text.
pub type Metrics = Arc<dyn Fn() -> String + Send + Sync>;

/// The admin front end: REST API, pages and probes over one [`Mirror`].
#[derive(Clone)]
pub struct Admin {
    site: Arc<Site>,
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("options", &self.site.options).finish_non_exhaustive()
    }
}

impl Admin {
    /// A front end over this mirror. `metrics` is what `/metrics` answers.
    ///
    /// # Errors
    /// [`Error::PublicUrl`] if the options name something that is no site.
    pub fn new(mirror: Arc<Mirror>, options: Options, metrics: Metrics) -> Result<Self> {
        Ok(Self { site: Arc::new(Site::new(mirror, options, metrics)?) })
    }

    /// Serves until `shutdown` resolves, then lets the requests that run come to an end, for ten seconds at most.
    ///
    /// May be called several times, once for each listener.
    ///
    /// # Errors
    /// [`Error::Listener`] if the listener has no address.
    pub async fn serve(&self, listener: TcpListener, shutdown: impl Future<Output = ()> + Send) -> Result<()> {
        serve::serve(app::app(Arc::clone(&self.site)), listener, shutdown).await
    }
}
