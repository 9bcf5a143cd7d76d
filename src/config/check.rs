//! What can only be seen by looking at several keys together, or at the disk.

use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, SocketAddr},
    path::Path,
};

use distmirror_backends::blobs::BlobOptions;

use super::{Config, PasswordSource, SecretSource, settings::Settings};

/// Notes everything that contradicts itself, and every file that is not there.
pub(super) fn contradictions(config: &Config, settings: &mut Settings) {
    listeners(config, settings);
    guarded(config, settings);
    users(config, settings);
    blob_options(config, settings);
    cache(config, settings);
    files(config, settings);
}

/// Every role has somewhere to listen, and no two listeners want the same place.
fn listeners(config: &Config, settings: &mut Settings) {
    let mut taken: Vec<(&str, SocketAddr)> = Vec::new();
    let of_admin = ("admin.listen", config.admin.listen.as_slice());
    let mut listeners: Vec<_> = config.proxy.listeners().into_iter().chain([of_admin]).collect();
    // Defaults first, so that the one who wrote something is told.
    listeners.sort_by_key(|(key, _)| settings.is_written(key));
    for (key, addresses) in listeners {
        if settings.is_reported(key) {
            continue;
        }
        // The proxy may be there inside TLS alone; whoever is redirected needs its site, too.
        let is_needed = key == "admin.listen" || (key == "proxy.listen" && config.proxy.listen_tls.is_empty());
        if addresses.is_empty() && is_needed {
            settings.report(key, "must name at least one address".to_owned());
        }
        for address in addresses {
            match taken.iter().find(|(_, other)| collide(*address, *other)) {
                Some((other_key, other)) if other_key == &key && other == address => {
                    settings.report(key, format!("`{address}` is there twice"));
                }
                Some((other_key, other)) => {
                    settings.report(key, format!("`{address}` is taken: `{other_key}` has `{other}`"));
                }
                None => taken.push((key, *address)),
            }
        }
    }
}

/// Whether two listeners cannot both exist. Port 0 means any free port.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let covers = |all: IpAddr, ip: IpAddr| all == ip || (all.is_unspecified() && all.is_ipv4() == ip.is_ipv4());
    one.port() == other.port() && one.port() != 0 && (covers(one.ip(), other.ip()) || covers(other.ip(), one.ip()))
}

/// Nobody opens the admin side to the network without saying that this is meant.
fn guarded(config: &Config, settings: &mut Settings) {
    if settings.is_written("admin.auth.mode") {
        return;
    }
    for address in config.admin.listen.iter().filter(|address| !address.ip().is_loopback()) {
        let message = format!(
            "`{address}` can be reached from other machines, and whoever reaches it may do everything: \
             if that is meant, write `mode = \"none\"` in `[admin.auth]`"
        );
        settings.report("admin.listen", message);
    }
}

/// Nobody is there twice, and nobody is asked for a password who cannot give one.
fn users(config: &Config, settings: &mut Settings) {
    let proxy = &config.proxy;
    for (at, user) in proxy.users.iter().enumerate() {
        if proxy.users[..at].iter().any(|other| other.name == user.name) {
            settings.report("proxy.users", format!("`{}` is there twice", user.name));
        }
    }
    let transparent =
        [("proxy.transparent_http", &proxy.transparent_http), ("proxy.transparent_https", &proxy.transparent_https)];
    for (key, addresses) in transparent {
        if !addresses.is_empty() && !proxy.users.is_empty() {
            let message =
                "clients that are redirected know no proxy and cannot sign in: leave out this or `proxy.users`";
            settings.report(key, message.to_owned());
        }
    }
}

/// The blob store knows which options there are. One at a time, so that each problem has its key.
fn blob_options(config: &Config, settings: &mut Settings) {
    if settings.is_reported("blobs.url") {
        return;
    }
    for (name, value) in &config.blobs.options {
        let options = BTreeMap::from([(name.clone(), value.expose().to_owned())]);
        let url = config.blobs.url.expose().to_owned();
        for problem in (BlobOptions { url, options }).problems() {
            settings.report(&format!("blobs.options.{name}"), problem.message);
        }
    }
}

/// A folder is on local disk already.
fn cache(config: &Config, settings: &mut Settings) {
    if config.blobs.cache_bytes > 0 && config.blobs.url.expose().to_ascii_lowercase().starts_with("file:") {
        let message = "copies what is in an object store, and `blobs.url` names a folder: leave it out";
        settings.report("blobs.cache_bytes", message.to_owned());
    }
}

fn files(config: &Config, settings: &mut Settings) {
    if config.data_dir.exists() && !config.data_dir.is_dir() {
        settings.report("data_dir", format!("`{}` is not a folder", config.data_dir.display()));
    }
    if !config.ca.create && !settings.is_reported("ca.certificate") && !settings.is_reported("ca.key") {
        file("ca.certificate", &config.ca.certificate, settings);
        file("ca.key", &config.ca.key, settings);
    }
    for root in &config.fetch.trusted_roots {
        file("fetch.trusted_roots", root, settings);
    }
    let of_proxy = config.fetch.proxy.iter().filter_map(|proxy| proxy.password.as_ref());
    let of_proxy = of_proxy.map(|secret| ("fetch.proxy_password_file", secret));
    let credentials = config.fetch.credentials.iter().map(|credentials| ("fetch.credentials", &credentials.secret));
    for (key, secret) in credentials.chain(of_proxy) {
        if let SecretSource::File(path) = secret {
            file(key, path, settings);
        }
    }
    for user in &config.proxy.users {
        if let PasswordSource::File(path) = &user.password {
            file("proxy.users", path, settings);
        }
    }
}

fn file(key: &str, path: &Path, settings: &mut Settings) {
    let problem = match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => return,
        Ok(_) => "is not a file".to_owned(),
        Err(error) => format!("cannot be read: {error}"),
    };
    settings.report(key, format!("`{}` {problem}", path.display()));
}
