//! The configuration: a TOML file, overridden by the environment, checked as a whole before anything is started.
//!
//! This is the only place of the project that reads configuration files and environment variables. Everything behind it
//! gets plain values. Every key has a default, so that no configuration at all is a configuration; `distmirror.example.toml`
//! lists them. Whatever is wrong is reported at once, one [`ConfigProblem`] for each: unknown keys, wrong types, values
//! that cannot be, values that contradict each other, and files that are not there.
//!
//! It does not look into the files that it names (a certificate is parsed by whoever uses it) and opens no connection.

mod check;
mod keys;
mod parse;
mod problem;
mod secret;
mod settings;
mod value;

use std::{
    collections::BTreeMap,
    env, fmt, fs,
    net::SocketAddr,
    path::{self, Path, PathBuf},
    time::Duration,
};

use distmirror_core::{Authority, Sha256, SpoolLimits};
use ipnet::IpNet;
use url::Url;

use self::settings::Settings;
pub use self::{
    problem::{ConfigProblem, Origin},
    secret::{BackendUrl, Secret},
};

/// The whole configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where everything lives that has no other place: catalog, blobs and CA by default, and the spool.
    pub data_dir: PathBuf,
    /// The record of artifacts.
    pub catalog: CatalogConfig,
    /// Where blobs are stored.
    pub blobs: BlobsConfig,
    /// The certificate authority that signs for intercepted hosts.
    pub ca: CaConfig,
    /// The proxy role.
    pub proxy: ProxyConfig,
    /// The admin role.
    pub admin: AdminConfig,
    /// The fetch role.
    pub fetch: FetchConfig,
    /// Looking after what is stored.
    pub upkeep: UpkeepConfig,
    /// What is logged, and how.
    pub log: LogConfig,
    /// What else is told of what happens.
    pub telemetry: TelemetryConfig,
}

/// `[catalog]`
#[derive(Debug, Clone, PartialEq)]
pub struct CatalogConfig {
    /// `sqlite:`, `postgres:`, `postgresql:`, `mysql:` or `mariadb:`.
    pub url: BackendUrl,
    /// The most connections to the database that one process opens.
    pub max_connections: u32,
    /// Whether the schema is brought up to date when a role starts.
    pub migrate: bool,
}

/// `[blobs]`
#[derive(Debug, Clone, PartialEq)]
pub struct BlobsConfig {
    /// `file:`, `s3:`, `gs:` or `az:`.
    pub url: BackendUrl,
    /// What the object store's client is told, by its own names.
    pub options: BTreeMap<String, Secret>,
    /// The most bytes of hot blobs that the proxy copies from an object store to local disk; 0 for none.
    pub cache_bytes: u64,
    /// The folder of these copies.
    pub cache_dir: PathBuf,
}

/// `[ca]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaConfig {
    /// PEM file with the certificate, or with the chain that begins with it.
    pub certificate: PathBuf,
    /// PEM file with the private key.
    pub key: PathBuf,
    /// Whether a CA is made when the files are missing: only in the default place.
    pub create: bool,
}

/// `[proxy]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyConfig {
    /// Where the proxy listens.
    pub listen: Vec<SocketAddr>,
    /// Where it listens inside TLS.
    pub listen_tls: Vec<SocketAddr>,
    /// Where plain HTTP arrives that was meant for other hosts.
    pub transparent_http: Vec<SocketAddr>,
    /// Where TLS arrives that was meant for other hosts.
    pub transparent_https: Vec<SocketAddr>,
    /// The URL by which clients reach it, without a slash at the end. `None`: see [`default_public_url`].
    pub public_url: Option<String>,
    /// The networks whose machines may use it; empty: all.
    pub allow_clients: Vec<IpNet>,
    /// The most connections at a time.
    pub max_connections: u32,
    /// The most of them from one address.
    pub max_connections_per_address: u32,
    /// How long nothing may happen on a connection.
    pub idle_timeout: Duration,
    /// Who may sign in; empty: nobody has to.
    pub users: Vec<ProxyUser>,
}

/// `[[proxy.users]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyUser {
    /// The name.
    pub name: String,
    /// The password.
    pub password: PasswordSource,
    /// The project that is noted with what this user misses.
    pub project: Option<String>,
}

/// Where a password is that somebody else must know.
#[derive(Clone, PartialEq, Eq)]
pub enum PasswordSource {
    /// In a file, of which line ends at the end do not count.
    File(PathBuf),
    /// Nowhere; this is its SHA-256.
    Sha256(Sha256),
}

impl fmt::Debug for PasswordSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => f.debug_tuple("File").field(file).finish(),
            Self::Sha256(_) => f.write_str("Sha256(****)"),
        }
    }
}

impl ProxyConfig {
    /// Every place where the proxy listens, by its key.
    pub fn listeners(&self) -> [(&'static str, &[SocketAddr]); 4] {
        [
            ("proxy.listen", &self.listen),
            ("proxy.listen_tls", &self.listen_tls),
            ("proxy.transparent_http", &self.transparent_http),
            ("proxy.transparent_https", &self.transparent_https),
        ]
    }
}

impl Default for ProxyConfig {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 3128))],
            listen_tls: Vec::new(),
            transparent_http: Vec::new(),
            transparent_https: Vec::new(),
            public_url: None,
            allow_clients: Vec::new(),
            max_connections: 16_384,
            max_connections_per_address: 4096,
            idle_timeout: Duration::from_secs(60),
            users: Vec::new(),
        }
    }
}

/// `[admin]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminConfig {
    /// Where pages and REST API listen.
    pub listen: Vec<SocketAddr>,
    /// The URL by which people reach it, without a slash at the end. `None`: see [`default_public_url`].
    pub public_url: Option<String>,
    /// Host names that requests may name besides that of `public_url` and the addresses in `listen`.
    pub allowed_hosts: Vec<String>,
    /// How people and programs prove who they are.
    pub auth: AuthConfig,
}

/// `[admin.auth]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuthConfig {
    /// The way of signing in.
    pub mode: AuthMode,
}

/// The way of signing in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthMode {
    /// Whoever reaches the port may do everything.
    None,
}

/// `[fetch]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchConfig {
    /// How many artifacts are fetched at a time.
    pub workers: u32,
    /// How many of them from the same host.
    pub per_host: u32,
    /// How long to wait from one fetch to the next from the same host; nothing for no wait.
    pub per_host_pause: Duration,
    /// The size, in bytes, that no file may exceed.
    pub max_file_bytes: u64,
    /// The most bytes that wait in the spool until they are verified, of all fetches together.
    pub max_spool_bytes: u64,
    /// How many bytes stay free on the disk of the data folder; never more than a twentieth of it.
    pub keep_free: u64,
    /// How long it may take until a connection to upstream stands.
    pub connect_timeout: Duration,
    /// How long upstream may send nothing.
    pub idle_timeout: Duration,
    /// How often a failed fetch is tried again by itself.
    pub retries: u32,
    /// Address ranges that may be reached although they are not public: `10.1.2.0/24:443`.
    pub allow_addresses: Vec<String>,
    /// PEM files with certificates to trust besides those of the system.
    pub trusted_roots: Vec<PathBuf>,
    /// How many bytes a second must come of a body, measured over `idle_timeout`; 0 for no limit.
    pub minimum_rate: u64,
    /// Whether a declaration of a file must have a checksum.
    pub require_checksum: bool,
    /// Whether a redirect from https to http is followed for what has a checksum.
    pub allow_downgrade: bool,
    /// Where a file may be found by its digest when upstream does not have it.
    pub rescue: Vec<String>,
    /// Whether what refers to an image (signatures, lists of materials, attestations) comes along with it.
    pub referrers: bool,
    /// Who may sign in where.
    pub credentials: Vec<CredentialsConfig>,
    /// The proxy on the way out, if there is one.
    pub proxy: Option<OutboundProxyConfig>,
}

/// `fetch.proxy` and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboundProxyConfig {
    /// Where it is.
    pub authority: Authority,
    /// Who signs in there, if it wants that.
    pub username: Option<String>,
    /// With which password.
    pub password: Option<SecretSource>,
    /// Domains and addresses that are reached without it.
    pub except: Vec<String>,
}

/// `[[fetch.credentials]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialsConfig {
    /// The registry or host as people write it; with `https://` before it they never go there unencrypted.
    pub host: String,
    /// Who signs in; without a name the secret is a bearer token.
    pub username: Option<String>,
    /// The password or the token.
    pub secret: SecretSource,
    /// Hosts besides that one to which the password may go for a token.
    pub token_hosts: Vec<String>,
}

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// In the configuration itself.
    Here(Secret),
    /// In a file, of which line ends at the end do not count.
    File(PathBuf),
}

/// `[upkeep]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpkeepConfig {
    /// Whether everything that is stored is hashed again now and then.
    pub scrub: bool,
    /// How long after one scrub began the next one does.
    pub scrub_every: Duration,
    /// The most bytes that a scrub reads a second.
    pub scrub_rate: u64,
    /// Whether upstream is asked now and then if what was fetched is still there.
    pub watch: bool,
    /// After how long it is asked again about the same artifact.
    pub watch_every: Duration,
}

impl Default for UpkeepConfig {
    fn default() -> Self {
        let month = Duration::from_secs(30 * 24 * 3600);
        Self { scrub: true, scrub_every: month, scrub_rate: 20_000_000, watch: true, watch_every: month }
    }
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// For people or for machines.
    pub format: LogFormat,
    /// A level (`error`, `warn`, `info`, `debug`, `trace`, `off`), also for parts: `info,distmirror_proxy=debug`.
    pub level: String,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// `[telemetry]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TelemetryConfig {
    /// The URL of a collector that takes traces by OTLP, without `/v1/traces`; `None`: there are none.
    pub otlp_endpoint: Option<String>,
    /// Of how many requests in a hundred there is a trace.
    pub trace_percent: u32,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { otlp_endpoint: None, trace_percent: 100 }
    }
}

impl Config {
    /// Reads the configuration: the defaults, over them the file, over that the environment, over that the data folder of
    /// the command line. Of the environment, only names that begin with `DISTMIRROR__` count; see [`environment`].
    ///
    /// # Errors
    /// Every problem that was found, in the order of the file.
    ///
    /// # Examples
    /// ```
    /// use distmirror::config::Config;
    ///
    /// let environment = [("DISTMIRROR__PROXY__LISTEN".to_owned(), "127.0.0.1:8888".to_owned())];
    /// let config = Config::load(None, environment.into_iter(), None).unwrap();
    /// assert_eq!(config.proxy.listen[0].port(), 8888);
    ///
    /// let environment = [("DISTMIRROR__PROXY__LISSTEN".to_owned(), "127.0.0.1:8888".to_owned())];
    /// let problems = Config::load(None, environment.into_iter(), None).unwrap_err();
    /// assert_eq!(problems[0].message, "unknown key; did you mean `listen`?");
    /// ```
    pub fn load(
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
        data_dir_override: Option<&Path>,
    ) -> Result<Self, Vec<ConfigProblem>> {
        let mut settings = Settings::default();
        if let Some(file) = file {
            let text = read(file).map_err(|problem| vec![problem])?;
            settings.add_file(file, &text).map_err(|problem| vec![problem])?;
        }
        settings.add_environment(environment);
        let config = keys::read(&mut settings, data_dir_override);
        check::contradictions(&config, &mut settings);
        let problems = settings.into_problems();
        if problems.is_empty() { Ok(config) } else { Err(problems) }
    }

    /// The configuration that results from saying nothing but where the data lives.
    pub fn in_directory(data_dir: impl Into<PathBuf>) -> Self {
        let data_dir = data_dir.into();
        Self {
            catalog: CatalogConfig { url: sqlite_in(&data_dir), max_connections: 10, migrate: true },
            blobs: BlobsConfig {
                url: BackendUrl::new(file_url(&data_dir.join("blobs"))),
                options: BTreeMap::new(),
                cache_bytes: 0,
                cache_dir: data_dir.join("cache"),
            },
            ca: CaConfig {
                certificate: data_dir.join("ca/certificate.pem"),
                key: data_dir.join("ca/key.pem"),
                create: true,
            },
            data_dir,
            proxy: ProxyConfig::default(),
            admin: AdminConfig {
                listen: vec![SocketAddr::from(([127, 0, 0, 1], 8080))],
                public_url: None,
                allowed_hosts: Vec::new(),
                auth: AuthConfig { mode: AuthMode::None },
            },
            fetch: FetchConfig::default(),
            upkeep: UpkeepConfig::default(),
            log: LogConfig { format: LogFormat::Text, level: "info".to_owned() },
            telemetry: TelemetryConfig::default(),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::in_directory("distmirror-data")
    }
}

impl Default for FetchConfig {
    fn default() -> Self {
        Self {
            workers: 8,
            per_host: 4,
            per_host_pause: Duration::ZERO,
            max_file_bytes: 64 << 30,
            max_spool_bytes: SpoolLimits::default().max_bytes,
            keep_free: SpoolLimits::default().keep_free,
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            retries: 5,
            allow_addresses: Vec::new(),
            trusted_roots: Vec::new(),
            minimum_rate: 1024,
            require_checksum: false,
            allow_downgrade: false,
            rescue: Vec::new(),
            referrers: true,
            credentials: Vec::new(),
            proxy: None,
        }
    }
}

/// The environment of this process, for [`Config::load`]. What is not Unicode is replaced, and so found to be wrong.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    env::vars_os().map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
}

/// The URL of a site whose `public_url` is not configured: the address on which it listens, or `localhost` when it
/// listens on every address.
pub fn default_public_url(listening_on: SocketAddr) -> String {
    if listening_on.ip().is_unspecified() {
        format!("http://localhost:{}", listening_on.port())
    } else {
        format!("http://{listening_on}")
    }
}

fn read(file: &Path) -> Result<String, ConfigProblem> {
    fs::read_to_string(file).map_err(|error| ConfigProblem {
        origin: Origin::Nowhere,
        key: String::new(),
        message: format!("cannot read the configuration file `{}`: {error}", file.display()),
    })
}

/// What follows `sqlite://` is a path as it stands.
fn sqlite_in(data_dir: &Path) -> BackendUrl {
    BackendUrl::new(format!("sqlite://{}", data_dir.join("catalog.db").display()))
}

/// The `file:` URL of a path, which becomes absolute by it: a relative one has no URL.
fn file_url(path: &Path) -> String {
    let absolute = path::absolute(path).unwrap_or_else(|_| Path::new("/").join(path));
    Url::from_file_path(absolute).map(String::from).unwrap_or_default()
}

#[cfg(test)]
mod tests;
