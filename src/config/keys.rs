//! Every key of the configuration, a line each: where it goes and how it is read.

use std::path::{Path, PathBuf};

use super::{
    AdminConfig, BlobsConfig, CaConfig, CatalogConfig, Config, CredentialsConfig, FetchConfig, LogConfig,
    OutboundProxyConfig, PasswordSource, ProxyConfig, ProxyUser, Secret, SecretSource, TelemetryConfig, UpkeepConfig,
    parse,
    settings::Settings,
    value::{Fields, Value, boolean, duration, duration_or_none, list, number, option, size, size_or_none, text},
};

/// Reads everything. What cannot be read keeps its default, and the problem is noted in `settings`.
pub(super) fn read(settings: &mut Settings, data_dir_override: Option<&Path>) -> Config {
    let mut data_dir = Config::default().data_dir;
    settings.read("data_dir", &mut data_dir, text(path));
    let mut config = Config::in_directory(data_dir_override.map_or(data_dir, Path::to_owned));
    catalog(settings, &mut config.catalog);
    blobs(settings, &mut config.blobs);
    ca(settings, &mut config.ca);
    proxy(settings, &mut config.proxy);
    admin(settings, &mut config.admin);
    fetch(settings, &mut config.fetch);
    upkeep(settings, &mut config.upkeep);
    log(settings, &mut config.log);
    telemetry(settings, &mut config.telemetry);
    config
}

fn catalog(settings: &mut Settings, catalog: &mut CatalogConfig) {
    settings.read_unless_empty("catalog.url", &mut catalog.url, text(parse::catalog_url));
    settings.read("catalog.max_connections", &mut catalog.max_connections, number(1..=1000));
    settings.read("catalog.migrate", &mut catalog.migrate, boolean);
}

fn blobs(settings: &mut Settings, blobs: &mut BlobsConfig) {
    settings.read_unless_empty("blobs.url", &mut blobs.url, text(parse::blobs_url));
    settings.read("blobs.cache_bytes", &mut blobs.cache_bytes, size_or_none);
    settings.read_unless_empty("blobs.cache_dir", &mut blobs.cache_dir, text(path));
    blobs.options = settings.read_section("blobs.options", |value| option(value).map(Secret::new));
}

fn ca(settings: &mut Settings, ca: &mut CaConfig) {
    let certificate = settings.read_unless_empty("ca.certificate", &mut ca.certificate, text(path));
    let key = settings.read_unless_empty("ca.key", &mut ca.key, text(path));
    ca.create = !certificate && !key;
    match (certificate, key) {
        (true, false) => settings.report("ca.certificate", "needs `ca.key` beside it".to_owned()),
        (false, true) => settings.report("ca.key", "needs `ca.certificate` beside it".to_owned()),
        _ => {}
    }
}

fn proxy(settings: &mut Settings, proxy: &mut ProxyConfig) {
    settings.read("proxy.listen", &mut proxy.listen, list(text(parse::socket_address)));
    settings.read("proxy.listen_tls", &mut proxy.listen_tls, list(text(parse::socket_address)));
    settings.read("proxy.transparent_http", &mut proxy.transparent_http, list(text(parse::socket_address)));
    settings.read("proxy.transparent_https", &mut proxy.transparent_https, list(text(parse::socket_address)));
    settings.read_unless_empty("proxy.public_url", &mut proxy.public_url, text(|url| parse::web_url(url).map(Some)));
    settings.read("proxy.allow_clients", &mut proxy.allow_clients, list(text(parse::network)));
    settings.read("proxy.max_connections", &mut proxy.max_connections, number(1..=1_000_000));
    settings.read("proxy.max_connections_per_address", &mut proxy.max_connections_per_address, number(1..=1_000_000));
    settings.read("proxy.idle_timeout", &mut proxy.idle_timeout, duration);
    settings.read("proxy.users", &mut proxy.users, list(proxy_user));
}

fn proxy_user(value: &Value) -> Result<ProxyUser, String> {
    let mut fields = Fields::of(value)?;
    let name = fields.read("name", text(parse::user_name))?;
    let file = fields.read("password_file", text(|text| path(text).map(PasswordSource::File)))?;
    let hash = fields.read("password_sha256", text(|text| parse::sha256(text).map(PasswordSource::Sha256)))?;
    let project = fields.read("project", text(|text| Ok(text.to_owned())))?;
    fields.end()?;
    let Some(name) = name else { return Err("needs a `name`".to_owned()) };
    let ((Some(password), None) | (None, Some(password))) = (file, hash) else {
        return Err(format!("of `{name}`: give either `password_file` or `password_sha256`"));
    };
    Ok(ProxyUser { name, password, project })
}

fn admin(settings: &mut Settings, admin: &mut AdminConfig) {
    settings.read("admin.listen", &mut admin.listen, list(text(parse::socket_address)));
    settings.read_unless_empty("admin.public_url", &mut admin.public_url, text(|url| parse::web_url(url).map(Some)));
    settings.read("admin.allowed_hosts", &mut admin.allowed_hosts, list(text(parse::host)));
    settings.read("admin.auth.mode", &mut admin.auth.mode, text(parse::auth_mode));
}

fn fetch(settings: &mut Settings, fetch: &mut FetchConfig) {
    settings.read("fetch.workers", &mut fetch.workers, number(1..=1000));
    settings.read("fetch.per_host", &mut fetch.per_host, number(1..=1000));
    settings.read("fetch.per_host_pause", &mut fetch.per_host_pause, duration_or_none);
    settings.read("fetch.max_file_bytes", &mut fetch.max_file_bytes, size);
    settings.read("fetch.max_spool_bytes", &mut fetch.max_spool_bytes, size);
    settings.read("fetch.keep_free", &mut fetch.keep_free, size_or_none);
    settings.read("fetch.connect_timeout", &mut fetch.connect_timeout, duration);
    settings.read("fetch.idle_timeout", &mut fetch.idle_timeout, duration);
    settings.read("fetch.retries", &mut fetch.retries, number(0..=1000));
    settings.read("fetch.allow_addresses", &mut fetch.allow_addresses, list(text(parse::address_range)));
    settings.read("fetch.trusted_roots", &mut fetch.trusted_roots, list(text(path)));
    settings.read("fetch.minimum_rate", &mut fetch.minimum_rate, size_or_none);
    settings.read("fetch.require_checksum", &mut fetch.require_checksum, boolean);
    settings.read("fetch.allow_downgrade", &mut fetch.allow_downgrade, boolean);
    settings.read("fetch.rescue", &mut fetch.rescue, list(text(parse::rescue_url)));
    outbound_proxy(settings, &mut fetch.proxy);
    settings.read("fetch.referrers", &mut fetch.referrers, boolean);
    settings.read("fetch.credentials", &mut fetch.credentials, list(credentials));
}

fn outbound_proxy(settings: &mut Settings, proxy: &mut Option<OutboundProxyConfig>) {
    settings.read_unless_empty("fetch.proxy", proxy, text(|url| parse::outbound_proxy(url).map(Some)));
    let (mut password_file, mut except) = (None, Vec::new());
    let has_file =
        settings.read_unless_empty("fetch.proxy_password_file", &mut password_file, text(|file| path(file).map(Some)));
    settings.read("fetch.proxy_except", &mut except, list(text(parse::host)));
    let Some(proxy) = proxy else {
        for key in ["fetch.proxy_password_file", "fetch.proxy_except"] {
            if settings.is_written_and_not_empty(key) && !settings.is_reported("fetch.proxy") {
                settings.report(key, "needs `fetch.proxy` beside it".to_owned());
            }
        }
        return;
    };
    proxy.except = except;
    if has_file && (proxy.username.is_none() || proxy.password.is_some()) {
        let message = "needs a user name, and no password, in `fetch.proxy`: `http://USER@proxy.example.com:3128`";
        settings.report("fetch.proxy_password_file", message.to_owned());
    }
    proxy.password = proxy.password.take().or(password_file.map(SecretSource::File));
}

fn upkeep(settings: &mut Settings, upkeep: &mut UpkeepConfig) {
    settings.read("upkeep.scrub", &mut upkeep.scrub, boolean);
    settings.read("upkeep.scrub_every", &mut upkeep.scrub_every, duration);
    settings.read("upkeep.scrub_rate", &mut upkeep.scrub_rate, size);
    settings.read("upkeep.watch", &mut upkeep.watch, boolean);
    settings.read("upkeep.watch_every", &mut upkeep.watch_every, duration);
}

fn credentials(value: &Value) -> Result<CredentialsConfig, String> {
    let mut fields = Fields::of(value)?;
    let host = fields.read("host", text(|text| Ok(text.to_owned())))?;
    let username = fields.read("username", text(|text| Ok(text.to_owned())))?;
    let here = |name: &str| format!("of `{}`: {name}", host.as_deref().unwrap_or_default().escape_debug());
    let mut secrets = Vec::new();
    for name in ["password", "token"] {
        secrets.extend(fields.read(name, text(|text| Ok((name, SecretSource::Here(Secret::new(text))))))?);
    }
    for (name, of) in [("password_file", "password"), ("token_file", "token")] {
        secrets.extend(fields.read(name, text(|text| path(text).map(|path| (of, SecretSource::File(path)))))?);
    }
    let token_hosts = fields.read("token_hosts", list(text(|text| Ok(text.to_owned()))))?.unwrap_or_default();
    fields.end()?;
    let Some(host) = host.clone() else { return Err("needs a `host`".to_owned()) };
    let secret = match (secrets.pop(), secrets.is_empty(), &username) {
        (Some(("password", secret)), true, Some(_)) | (Some(("token", secret)), true, None) => secret,
        _ => return Err(here("give a `username` with `password_file`, or `token_file` alone")),
    };
    Ok(CredentialsConfig { host, username, secret, token_hosts })
}

fn log(settings: &mut Settings, log: &mut LogConfig) {
    settings.read("log.format", &mut log.format, text(parse::log_format));
    settings.read("log.level", &mut log.level, text(parse::log_level));
}

fn telemetry(settings: &mut Settings, telemetry: &mut TelemetryConfig) {
    let endpoint = text(|url| parse::web_url(url).map(Some));
    settings.read_unless_empty("telemetry.otlp_endpoint", &mut telemetry.otlp_endpoint, endpoint);
    settings.read("telemetry.trace_percent", &mut telemetry.trace_percent, number(1..=100));
}

fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("must name a path".to_owned()) } else { Ok(PathBuf::from(text)) }
}
