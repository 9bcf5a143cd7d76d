//! The way to upstream: one client for all that asks, with every secret read once.

use std::path::{Path, PathBuf};

use distmirror_fetch::{
    Credentials, FetchOptions, FileFetcher, FileOptions, ImageFetcher, ImageOptions, OutboundProxy, UpstreamClient,
};

use super::Error;
use crate::config::{Config, CredentialsConfig, OutboundProxyConfig, SecretSource};

/// How this process asks upstream. All of it goes through one client, with the credentials read once.
pub(super) struct Upstream {
    pub(super) files: FileFetcher,
    pub(super) images: ImageFetcher,
}

impl Upstream {
    pub(super) fn open(config: &Config) -> Result<Self, Error> {
        let client = build_client(config)?;
        let credentials: Vec<_> = config.fetch.credentials.iter().map(read_credentials).collect::<Result<_, _>>()?;
        let of_files = FileOptions {
            credentials: credentials.clone(),
            rescue: config.fetch.rescue.clone(),
            allow_downgrade: config.fetch.allow_downgrade,
        };
        let of_images = ImageOptions {
            credentials,
            per_registry: config.fetch.per_host as usize,
            referrers: config.fetch.referrers,
        };
        Ok(Self { files: FileFetcher::new(client.clone(), of_files), images: ImageFetcher::new(client, of_images) })
    }
}

fn build_client(config: &Config) -> Result<UpstreamClient, Error> {
    let own = config.proxy.listeners().into_iter().flat_map(|(_, addresses)| addresses);
    let own = own.chain(&config.admin.listen).copied().collect();
    let options = FetchOptions {
        allow_addresses: config.fetch.allow_addresses.clone(),
        own_listeners: own,
        proxy: config.fetch.proxy.as_ref().map(read_outbound_proxy).transpose()?,
        trusted_roots: read_roots(&config.fetch.trusted_roots)?,
        connect_timeout: config.fetch.connect_timeout,
        idle_timeout: config.fetch.idle_timeout,
        minimum_rate: config.fetch.minimum_rate,
    };
    UpstreamClient::new(&options).map_err(|error| Error::configuration("fetch", &error))
}

fn read_roots(files: &[PathBuf]) -> Result<Vec<String>, Error> {
    let read = |file: &PathBuf| {
        let problem = |error| format!("cannot read `{}`: {error}", file.display());
        std::fs::read_to_string(file)
            .map_err(|error| Error::Configuration { key: "fetch.trusted_roots", problem: problem(error) })
    };
    files.iter().map(read).collect()
}

fn read_outbound_proxy(config: &OutboundProxyConfig) -> Result<OutboundProxy, Error> {
    let OutboundProxyConfig { authority, username, password, except } = config.clone();
    let password = password.as_ref().map(read_secret).transpose();
    let password = password.map_err(|problem| Error::Configuration { key: "fetch.proxy_password_file", problem })?;
    let credentials = username.map(|username| (username, password.unwrap_or_default()));
    Ok(OutboundProxy { authority, credentials, except })
}

fn read_secret(source: &SecretSource) -> Result<String, String> {
    match source {
        SecretSource::Here(secret) => Ok(secret.expose().to_owned()),
        SecretSource::File(file) => read_secret_file(file),
    }
}

/// The secret in a file, of which line ends at the end do not count.
pub(super) fn read_secret_file(file: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("cannot read `{}`: {error}", file.display()))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn read_credentials(config: &CredentialsConfig) -> Result<Credentials, Error> {
    let problem = |problem: String| Error::Configuration {
        key: "fetch.credentials",
        problem: format!("of `{}`: {problem}", config.host.escape_debug()),
    };
    let secret = read_secret(&config.secret).map_err(problem)?;
    let CredentialsConfig { host, username, token_hosts, .. } = config.clone();
    let credentials = Credentials { host, username, secret, token_hosts };
    credentials.check().map_err(problem)?;
    Ok(credentials)
}
