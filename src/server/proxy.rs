//! The proxy's part of the wiring: where it listens, and by which names it is reached.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc};

use distmirror_core::Sha256;
use distmirror_proxy::{Entrance, Listener, Options, User};
use rustix::process::{Resource, getrlimit};

use super::{Error, bind, upstream::read_secret_file};
use crate::{
    config::{Config, PasswordSource, ProxyUser, default_public_url},
    telemetry::Metrics,
};

/// Binds everything at which the proxy listens.
pub(super) async fn listeners(config: &Config) -> Result<Vec<Listener>, Error> {
    // In the order in which the configuration lists them.
    let entrances = [Entrance::Proxy, Entrance::ProxyTls, Entrance::TransparentHttp, Entrance::TransparentHttps];
    let mut listeners = Vec::new();
    for ((key, addresses), entrance) in config.proxy.listeners().into_iter().zip(entrances) {
        let bound = bind(key, addresses).await?;
        listeners.extend(bound.into_iter().map(|socket| Listener::new(socket, entrance)));
    }
    Ok(listeners)
}

/// How the proxy behaves.
pub(super) fn options(config: &Config, metrics: Metrics) -> Result<Options, Error> {
    Ok(Options {
        admin_url: super::admin_url(config),
        public_url: config.proxy.public_url.is_some().then(|| proxy_url(config)),
        own_authorities: own_authorities(config),
        allow_clients: config.proxy.allow_clients.clone(),
        users: users(config)?,
        max_connections: connections_within(open_files(), config.proxy.max_connections as usize),
        max_connections_per_address: config.proxy.max_connections_per_address as usize,
        idle_timeout: config.proxy.idle_timeout,
        metrics: Arc::new(move || metrics.text()),
        ..Options::default()
    })
}

/// How many files this process may have open.
fn open_files() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// Each connection is an open file, and so is what it is answered with: a quarter is kept for that, and some for everything else.
/// A request that is accepted would be refused without them.
fn connections_within(open_files: Option<u64>, wanted: usize) -> usize {
    let possible = open_files.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX));
    let possible = (possible.saturating_sub(OTHER_FILES) / 4 * 3).max(1);
    if possible < wanted {
        tracing::warn!(
            "this process may have {} open files, which is enough for {possible} connections and not for the {wanted} of \
             proxy.max_connections: raise the limit (`LimitNOFILE=` of systemd, `--ulimit nofile=` of containers)",
            open_files.unwrap_or_default()
        );
    }
    possible.min(wanted)
}

/// Listeners, the catalog, the spool, fetches, logs, blobs that are kept open.
const OTHER_FILES: usize = 192;

/// Who may sign in, with passwords read and no longer in clear.
pub(super) fn users(config: &Config) -> Result<Vec<User>, Error> {
    config.proxy.users.iter().map(user).collect()
}

fn user(config: &ProxyUser) -> Result<User, Error> {
    let problem = |problem: String| Error::Configuration {
        key: "proxy.users",
        problem: format!("of `{}`: {problem}", config.name),
    };
    let password = match &config.password {
        PasswordSource::Sha256(sha256) => *sha256,
        PasswordSource::File(file) => match read_secret_file(file).map_err(problem)?.as_str() {
            "" => return Err(problem(format!("`{}` is empty", file.display()))),
            password => Sha256::of(password.as_bytes()),
        },
    };
    Ok(User { name: config.name.clone(), password, project: config.project.as_deref().map(Into::into) })
}

/// `HOST:PORT` of every place where the proxy is reached: under its public name, at the addresses on which it listens, and as
/// `localhost` on this machine.
fn own_authorities(config: &Config) -> Vec<String> {
    let public = proxy_address(config);
    let public_host = public.rsplit_once(':').map_or(public.as_str(), |(host, _)| host).to_owned();
    let addresses = config.proxy.listeners().into_iter().flat_map(|(_, addresses)| addresses);
    let of_listener = |address: &SocketAddr| {
        let is_local = address.ip().is_loopback() || address.ip().is_unspecified();
        let localhost = is_local.then(|| format!("localhost:{}", address.port()));
        [address.to_string(), format!("{public_host}:{}", address.port())].into_iter().chain(localhost)
    };
    let own: BTreeSet<String> = addresses.flat_map(of_listener).collect();
    own.into_iter().chain([public]).collect()
}

/// `SCHEME://HOST:PORT` by which clients reach the proxy.
pub(super) fn proxy_url(config: &Config) -> String {
    let proxy = &config.proxy;
    let plain = || proxy.listen.first().map(|address| default_public_url(*address));
    let by_tls = || proxy.listen_tls.first().map(|address| default_public_url(*address).replacen("http:", "https:", 1));
    let url = proxy.public_url.clone().or_else(plain).or_else(by_tls).unwrap_or_default();
    let parsed = url.parse::<distmirror_core::Uri>();
    parsed.map_or(url, |uri| format!("{}://{}", uri.scheme().as_str(), uri.authority()))
}

/// `HOST:PORT` of that.
pub(super) fn proxy_address(config: &Config) -> String {
    let url = proxy_url(config);
    url.split_once("://").map_or(url.clone(), |(_, address)| address.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_for_answers() {
        for (open_files, wanted, expected) in [
            (None, 16_384, 16_384),
            (Some(1_048_576), 16_384, 16_384),
            (Some(20_000), 16_384, 14_856),
            (Some(1024), 16_384, 624),
            (Some(1024), 100, 100),
            (Some(10), 100, 1),
        ] {
            assert_eq!(connections_within(open_files, wanted), expected, "{open_files:?} {wanted}");
        }
    }
}
