//! Wiring: from a configuration to running roles, until a signal says stop.
//!
//! Everything that can be wrong is found before anything is served: backends are opened, the authority is loaded and every
//! address is bound first. On SIGTERM or SIGINT nothing new is taken up, what runs may end within limits, and the process
//! exits.

mod observe;
mod proxy;
mod upstream;

use std::{future::Future, net::SocketAddr, path::Path, sync::Arc};

use distmirror_admin::Admin;
use distmirror_backends::{
    blobs::{self, BlobOptions, CacheOptions, CachedBlobStore},
    catalog::{CatalogOptions, SqlCatalog},
};
use distmirror_core::{
    BlobStore, Catalog, Fetcher, Intake, Mirror, SpoolLimits,
    durable::make_folders,
    observed::{ObservedBlobStore, ObservedCatalog},
    upkeep::Damage,
};
use distmirror_fetch::{OnceReport, RollingScrub, ScrubOptions, UpstreamWatch, WatchOptions, WorkerOptions, Workers};
use distmirror_proxy::{CertificateAuthority, Proxy};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinSet,
};

use self::{
    proxy::{proxy_address, proxy_url},
    upstream::Upstream,
};
use crate::{
    config::{BlobsConfig, Config, default_public_url},
    telemetry::Metrics,
};

/// Which roles a process has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    /// Serves artifacts.
    pub proxy: bool,
    /// Serves pages and REST API.
    pub admin: bool,
    /// Fetches what is declared.
    pub fetch: bool,
}

impl Roles {
    /// All of them, for one machine.
    pub const ALL: Self = Self { proxy: true, admin: true, fetch: true };
    /// The proxy alone.
    pub const PROXY: Self = Self { proxy: true, admin: false, fetch: false };
    /// The admin side alone.
    pub const ADMIN: Self = Self { proxy: false, admin: true, fetch: false };
    /// Workers alone.
    pub const FETCH: Self = Self { proxy: false, admin: false, fetch: true };
}

/// Why a process did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Something in the configuration cannot be used; the message names the key.
    #[error("{key}: {problem}")]
    Configuration {
        /// The key.
        key: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// Something that the configuration names is not there or does not answer.
    #[error("{0}")]
    Unavailable(String),
}

impl Error {
    fn configuration(key: &'static str, error: &(dyn std::error::Error + 'static)) -> Self {
        Self::Configuration { key, problem: distmirror_core::error::chain(error) }
    }

    fn unavailable(key: &'static str, error: &(dyn std::error::Error + 'static)) -> Self {
        Self::Unavailable(format!("{key}: {}", distmirror_core::error::chain(error)))
    }
}

/// Runs the roles until a signal. `announce` is called once everything listens, with what a person wants to know.
///
/// # Errors
/// [`Error`] before anything is served.
pub async fn run(config: &Config, roles: Roles, announce: impl FnOnce(&str)) -> Result<(), Error> {
    harden();
    let metrics = Metrics::install().map_err(|error| Error::unavailable("metrics", &error))?;
    observe::describe_metrics(roles);
    let proxy_listeners = if roles.proxy { proxy::listeners(config).await? } else { Vec::new() };
    let admin_listeners = bind("admin.listen", if roles.admin { &config.admin.listen } else { &[] }).await?;
    let authority = if roles.proxy { Some(load_authority(config)?) } else { None };
    let catalog = Arc::new(open_catalog(config, config.catalog.migrate).await?);
    let metrics = metrics.showing({
        let catalog = Arc::clone(&catalog);
        move || catalog.show_connections()
    });
    let mirror = open_over(config, catalog).await?;
    let mirror = Arc::new(if roles.proxy { with_cache(config, mirror).await } else { mirror });
    let upstream = if roles.admin || roles.fetch { Some(Upstream::open(config)?) } else { None };
    let intake = match roles {
        Roles { fetch: true, .. } => Some(build_intake(config, &mirror)?),
        Roles { admin: true, .. } => intake_for_people(config, &mirror),
        _ => None,
    };
    let admin = match &upstream {
        Some(upstream) if roles.admin => {
            Some(Arc::new(build_admin(config, &mirror, upstream, intake.clone(), authority.as_ref(), &metrics)?))
        }
        _ => None,
    };
    let (workers, upkeep) = match (&upstream, intake) {
        (Some(upstream), Some(intake)) if roles.fetch => {
            (Some(build_workers(config, &mirror, upstream, intake)), Upkeep::new(config, &mirror, upstream))
        }
        _ => (None, Upkeep::default()),
    };
    let proxy = match authority {
        Some(authority) => Some(Proxy::new(Arc::clone(&mirror), authority, proxy::options(config, metrics)?)),
        None => None,
    };

    announce(&announcement(config, roles));
    tracing::info!(version = env!("CARGO_PKG_VERSION"), ?roles, proxy = ?config.proxy.listeners(), admin = ?config.admin.listen, "started");
    if roles.proxy
        && config.proxy.public_url.is_none()
        && config.proxy.listen.iter().chain(&config.proxy.listen_tls).any(|address| address.ip().is_unspecified())
    {
        tracing::warn!(
            "the proxy listens on every address and proxy.public_url is not set: clients are told to use whatever name they asked by"
        );
    }
    let (stop, stopped) = watch::channel(());
    let mut running = JoinSet::new();
    if let Some(admin) = admin {
        for listener in admin_listeners {
            running.spawn(serve_admin(Arc::clone(&admin), listener, until(&stopped)));
        }
    }
    if let Some(proxy) = proxy {
        let stopped = until(&stopped);
        running.spawn(async move { proxy.serve(proxy_listeners, stopped).await });
    }
    if roles.admin || roles.fetch {
        running.spawn(observe::measure(Arc::clone(&mirror), until(&stopped)));
    }
    if let Some(workers) = workers {
        let stopped = until(&stopped);
        running.spawn(async move { workers.run(stopped).await });
    }
    if let Some(scrub) = upkeep.scrub {
        let stopped = until(&stopped);
        running.spawn(async move { scrub.run(stopped).await });
    }
    if let Some(watch) = upkeep.watch {
        let stopped = until(&stopped);
        running.spawn(async move { watch.run(stopped).await });
    }
    stop_signal().await?;
    tracing::info!("stopping");
    drop(stop);
    while running.join_next().await.is_some() {}
    Ok(())
}

async fn serve_admin(admin: Arc<Admin>, listener: TcpListener, stopped: impl Future<Output = ()> + Send) {
    if let Err(error) = admin.serve(listener, stopped).await {
        tracing::error!(error = distmirror_core::error::chain(&error), "the admin side ended");
    }
}

/// Fetches what is due, then returns.
///
/// # Errors
/// [`Error`] before anything is fetched, or when the catalog goes away meanwhile.
pub async fn fetch_once(config: &Config) -> Result<OnceReport, Error> {
    let mirror = Arc::new(open(config).await?);
    let workers = build_workers(config, &mirror, &Upstream::open(config)?, build_intake(config, &mirror)?);
    workers.run_once().await.map_err(|error| Error::unavailable("catalog", &error))
}

/// What a scrub found.
#[derive(Debug)]
pub struct ScrubReport {
    /// How many blobs were hashed.
    pub checked: u64,
    /// How many bytes they had.
    pub bytes: u64,
    /// What is damaged, and whether it was fetched again.
    pub damaged: Vec<(Damage, bool)>,
    /// How many blobs belong to no artifact.
    pub unreferenced: u64,
}

/// Hashes everything that is stored again, and fetches what is damaged again if that is wanted.
///
/// # Errors
/// [`Error`] when catalog or blob store cannot be used.
pub async fn scrub(config: &Config, repair: bool) -> Result<ScrubReport, Error> {
    let mirror = Arc::new(open(config).await?);
    let unavailable = |error: distmirror_core::Error| Error::unavailable("scrub", &error);
    let scrub = mirror.begin_scrub("command line", repair).await.map_err(unavailable)?;
    let done = mirror.scrub(scrub, None).await.map_err(unavailable)?;
    if repair && !done.damaged.is_empty() {
        let workers = build_workers(config, &mirror, &Upstream::open(config)?, build_intake(config, &mirror)?);
        workers.run_once().await.map_err(unavailable)?;
    }
    let healed = mirror.healed(&done).await.map_err(unavailable)?;
    let with_outcome = |damage: Damage| {
        let is_healed = healed.contains(&damage.artifact);
        (damage, is_healed)
    };
    let damaged = done.damaged.into_iter().map(with_outcome).collect();
    Ok(ScrubReport { checked: done.checked, bytes: done.bytes, damaged, unreferenced: done.unreferenced })
}

/// Brings the schema of the catalog up to date.
///
/// # Errors
/// [`Error`] when the catalog cannot be opened or changed.
pub async fn migrate(config: &Config) -> Result<(), Error> {
    open_catalog(config, true).await.map(drop)
}

/// Loads the authority that the configuration names, and makes one on first start where none is named.
///
/// # Errors
/// [`Error::Configuration`] with the file and the remedy.
pub fn load_authority(config: &Config) -> Result<CertificateAuthority, Error> {
    let folder = config.ca.certificate.parent().unwrap_or(Path::new("."));
    if config.ca.create {
        create_data_folder(config);
    }
    let loaded = if config.ca.create {
        CertificateAuthority::load_or_create(folder)
    } else {
        CertificateAuthority::load(&config.ca.certificate, &config.ca.key)
    };
    loaded.map_err(|error| Error::configuration("ca", &error))
}

/// What can be found wrong in a configuration without opening a port or a connection, beyond what reading it finds.
pub fn check(config: &Config) -> Vec<Error> {
    let mut problems = Vec::new();
    if !config.ca.create || config.ca.certificate.exists() {
        problems.extend(load_authority(config).err());
    }
    problems.extend(Upstream::open(config).err());
    problems.extend(proxy::users(config).err());
    problems
}

/// Makes the data folder such that others cannot read who declared what. A role that keeps nothing there does without it,
/// on a read-only disk for instance; whoever needs it says what stands in the way.
fn create_data_folder(config: &Config) {
    let _ = make_folders(&config.data_dir, 0o700);
}

async fn open(config: &Config) -> Result<Mirror, Error> {
    open_over(config, Arc::new(open_catalog(config, config.catalog.migrate).await?)).await
}

async fn open_over(config: &Config, catalog: Arc<dyn Catalog>) -> Result<Mirror, Error> {
    let catalog = Arc::new(ObservedCatalog::new(catalog));
    let blobs = Arc::new(ObservedBlobStore::new(open_blobs(config).await?));
    let options = distmirror_core::Options {
        require_checksum: config.fetch.require_checksum,
        ..distmirror_core::Options::default()
    };
    Ok(Mirror::new(catalog, blobs, options))
}

async fn open_catalog(config: &Config, migrate: bool) -> Result<SqlCatalog, Error> {
    create_data_folder(config);
    let url = config.catalog.url.expose().to_owned();
    let options = CatalogOptions { url, max_connections: config.catalog.max_connections, migrate };
    // Boxed: the compiler gives up on the size of a future that holds all of this one.
    Box::pin(SqlCatalog::open(&options)).await.map_err(|error| Error::unavailable("catalog.url", &error))
}

async fn open_blobs(config: &Config) -> Result<Arc<dyn BlobStore>, Error> {
    let options = config.blobs.options.iter().map(|(key, value)| (key.clone(), value.expose().to_owned()));
    let options = BlobOptions { url: config.blobs.url.expose().to_owned(), options: options.collect() };
    blobs::open(&options).await.map_err(|error| Error::unavailable("blobs.url", &error))
}

/// Lets the mirror serve hot blobs from local disk, if that is configured. A cache that cannot be used keeps nobody from being
/// served.
async fn with_cache(config: &Config, mirror: Mirror) -> Mirror {
    let BlobsConfig { cache_bytes: max_bytes, cache_dir, .. } = &config.blobs;
    if *max_bytes == 0 {
        return mirror;
    }
    let options = CacheOptions { folder: cache_dir.clone(), max_bytes: *max_bytes, keep_free: config.fetch.keep_free };
    match CachedBlobStore::open(Arc::clone(mirror.blobs()), options).await {
        Ok(cached) => mirror.serving_from(Arc::new(cached)),
        Err(error) => {
            tracing::error!(error = error.chain(), "blobs.cache_dir: nothing is kept on local disk");
            mirror
        }
    }
}

/// What looks after what is stored.
#[derive(Default)]
struct Upkeep {
    scrub: Option<RollingScrub>,
    watch: Option<UpstreamWatch>,
}

impl Upkeep {
    fn new(config: &Config, mirror: &Arc<Mirror>, upstream: &Upstream) -> Self {
        let upkeep = &config.upkeep;
        let scrub =
            ScrubOptions { every: upkeep.scrub_every, bytes_per_second: upkeep.scrub_rate, ..ScrubOptions::default() };
        let watch = WatchOptions { every: upkeep.watch_every, ..WatchOptions::default() };
        let Upstream { files, images } = upstream;
        Self {
            scrub: upkeep.scrub.then(|| RollingScrub::new(Arc::clone(mirror), scrub)),
            watch: upkeep.watch.then(|| UpstreamWatch::new(Arc::clone(mirror), files.clone(), images.clone(), watch)),
        }
    }
}

/// Where bytes come in: from upstream, and from people who supply them.
fn build_intake(config: &Config, mirror: &Mirror) -> Result<Intake, Error> {
    let spool = config.data_dir.join("spool");
    let limits = SpoolLimits { max_bytes: config.fetch.max_spool_bytes, keep_free: config.fetch.keep_free };
    let intake = Intake::open(spool, Arc::clone(mirror.blobs()), config.fetch.max_file_bytes);
    intake.map(|intake| intake.limited(limits)).map_err(|error| Error::unavailable("data_dir", &error))
}

/// Without a disk a process cannot take files in from people, and does everything else.
fn intake_for_people(config: &Config, mirror: &Mirror) -> Option<Intake> {
    build_intake(config, mirror).inspect_err(|error| tracing::warn!(%error, "files cannot be supplied by hand")).ok()
}

fn build_workers(config: &Config, mirror: &Arc<Mirror>, upstream: &Upstream, intake: Intake) -> Workers {
    let fetchers: Vec<Arc<dyn Fetcher>> = vec![Arc::new(upstream.files.clone()), Arc::new(upstream.images.clone())];
    let options = WorkerOptions {
        workers: config.fetch.workers as usize,
        per_host: config.fetch.per_host as usize,
        per_host_pause: config.fetch.per_host_pause,
        retries: config.fetch.retries,
        ..WorkerOptions::default()
    };
    Workers::new(Arc::clone(mirror), intake, fetchers, options)
}

fn build_admin(
    config: &Config,
    mirror: &Arc<Mirror>,
    upstream: &Upstream,
    intake: Option<Intake>,
    authority: Option<&CertificateAuthority>,
    metrics: &Metrics,
) -> Result<Admin, Error> {
    // An admin process of its own shows the certificate if it finds it, and never makes another authority.
    let found = || std::fs::read_to_string(&config.ca.certificate).unwrap_or_default();
    let options = distmirror_admin::Options {
        public_url: Some(admin_url(config)),
        proxy_address: proxy_address(config),
        ca_pem: authority.map_or_else(found, |authority| authority.pem().to_owned()),
        allowed_hosts: config.admin.allowed_hosts.clone(),
        tag_resolver: Some(Arc::new(upstream.images.clone())),
        prober: Some(Arc::new(upstream.files.clone())),
        intake,
        scrub_bytes_per_second: Some(config.upkeep.scrub_rate),
    };
    let metrics = metrics.clone();
    let admin = Admin::new(Arc::clone(mirror), options, Arc::new(move || metrics.text()));
    admin.map_err(|error| Error::configuration("admin", &error))
}

fn admin_url(config: &Config) -> String {
    let first = config.admin.listen.first().copied();
    config.admin.public_url.clone().unwrap_or_else(|| first.map(default_public_url).unwrap_or_default())
}

async fn bind(key: &'static str, addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, Error> {
    distmirror_proxy::bind(addresses).await.map_err(|error| Error::unavailable(key, &error))
}

/// What a person wants to know who just started this.
fn announcement(config: &Config, roles: Roles) -> String {
    let mut text = String::new();
    if roles.admin {
        text += &format!("Declare artifacts:     {}/\n", admin_url(config));
    }
    if roles.proxy {
        let (proxy, ca) = (proxy_url(config), config.ca.certificate.display());
        let trusting = if proxy.starts_with("https:") { format!(" --proxy-cacert {ca}") } else { String::new() };
        text += &format!(
            "Point a client here:   curl -x {proxy}{trusting} --cacert {ca} URL\n\
             How to set up a tool:  {proxy}/setup/\n"
        );
    }
    if roles.fetch && !roles.admin && !roles.proxy {
        text += "Fetching what is declared.\n";
    }
    text
}

/// Ready when the sender of the channel is gone.
fn until(stopped: &watch::Receiver<()>) -> impl Future<Output = ()> + Send + 'static {
    let mut stopped = stopped.clone();
    async move {
        let _ = stopped.changed().await;
    }
}

async fn stop_signal() -> Result<(), Error> {
    let listen = |kind| signal(kind).map_err(|error| Error::unavailable("signals", &error));
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let mut hang_up = listen(SignalKind::hangup())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        _ = hang_up.recv() => {}
    }
    Ok(())
}

/// The process holds a key that can pose as any site: no core dumps, no peeking by other processes of the user. And it may
/// use as many descriptors as the system allows.
fn harden() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let files = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: files.maximum, maximum: files.maximum });
}
