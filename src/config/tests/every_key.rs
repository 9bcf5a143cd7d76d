//! A file that sets every key, and what becomes of it.

use super::*;

#[test]
fn every_key_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let pem = folder.path().join("x.pem");
    fs::write(&pem, "").unwrap();
    let pem = pem.to_str().unwrap();
    let config = load(
        &format!(
            r#"
            data_dir = "elsewhere"
            [catalog]
            url = "postgres://user:pass@db/mirror"
            max_connections = 20
            migrate = false
            [blobs]
            url = "s3://bucket/prefix"
            cache_bytes = "10 GiB"
            cache_dir = "/fast/cache"
            options = {{ aws_endpoint = "http://s3:9000", aws_allow_http = true, aws_region = 1 }}
            [ca]
            certificate = "{pem}"
            key = "{pem}"
            [proxy]
            listen = ["0.0.0.0:3128", "[::1]:3129"]
            listen_tls = ["0.0.0.0:3130"]
            public_url = "http://proxy.example.com:3128/"
            allow_clients = ["10.0.0.0/8", "fd00::1"]
            max_connections = 500
            max_connections_per_address = 50
            idle_timeout = "90s"
            [[proxy.users]]
            name = "ci"
            password_file = "{pem}"
            project = "firmware"
            [[proxy.users]]
            name = "nightly"
            password_sha256 = "9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B2B0B822CD15D6C15B0F00A08"
            [admin]
            listen = ["127.0.0.1:80"]
            public_url = "https://mirror.example.com/admin/"
            allowed_hosts = ["Mirror.example.com", "10.0.0.1:8080"]
            auth.mode = "none"
            [fetch]
            workers = 1
            per_host = 2
            per_host_pause = "2s"
            max_spool_bytes = "5 GiB"
            keep_free = 0
            max_file_bytes = "4 GiB"
            connect_timeout = "500ms"
            idle_timeout = "5m"
            retries = 0
            allow_addresses = ["10.1.2.0/24:443", "[fd00::/8]:80", "127.0.0.1:8080"]
            trusted_roots = ["{pem}"]
            referrers = false
            minimum_rate = 0
            require_checksum = true
            allow_downgrade = true
            rescue = ["https://cas.test/{{algorithm}}/{{hex}}"]
            proxy = "http://me@proxy.test:3128"
            proxy_password_file = "{pem}"
            proxy_except = ["corp.test", "10.0.0.1"]
            [[fetch.credentials]]
            host = "registry.test"
            username = "me"
            password_file = "{pem}"
            token_hosts = ["auth.test"]
            [[fetch.credentials]]
            host = "http://other.test:5000"
            token = "hunter2"
            [upkeep]
            scrub = false
            scrub_every = "168h"
            scrub_rate = "1 MB"
            watch = false
            watch_every = "24h"
            [log]
            format = "json"
            level = "info,distmirror_proxy=debug"
            [telemetry]
            otlp_endpoint = "http://collector.test:4318/"
            trace_percent = 5
            "#
        ),
        &[],
    )
    .unwrap();
    assert_eq!(config.data_dir, Path::new("elsewhere"));
    assert_eq!(config.catalog.url.expose(), "postgres://user:pass@db/mirror");
    assert_eq!((config.catalog.max_connections, config.catalog.migrate), (20, false));
    check_blobs(&config.blobs);
    assert_eq!(config.ca, CaConfig { certificate: pem.into(), key: pem.into(), create: false });
    check_proxy(&config.proxy, pem);
    assert_eq!(config.admin.listen, ["127.0.0.1:80".parse().unwrap()]);
    assert_eq!(config.admin.public_url.as_deref(), Some("https://mirror.example.com/admin"));
    assert_eq!(config.admin.allowed_hosts, ["Mirror.example.com", "10.0.0.1:8080"]);
    check_fetch(&config.fetch, pem);
    check_upkeep(&config.upkeep);
    let endpoint = Some("http://collector.test:4318".to_owned());
    assert_eq!(config.telemetry, TelemetryConfig { otlp_endpoint: endpoint, trace_percent: 5 });
    assert_eq!(config.log, LogConfig { format: LogFormat::Json, level: "info,distmirror_proxy=debug".into() });
}

/// What the text of [`every_key_is_read`] says of the blobs.
fn check_blobs(blobs: &BlobsConfig) {
    assert_eq!(blobs.url.expose(), "s3://bucket/prefix");
    assert_eq!((blobs.cache_bytes, blobs.cache_dir.as_path()), (10 << 30, Path::new("/fast/cache")));
    let options: Vec<_> = blobs.options.iter().map(|(key, value)| (key.as_str(), value.expose())).collect();
    assert_eq!(options, [("aws_allow_http", "true"), ("aws_endpoint", "http://s3:9000"), ("aws_region", "1")]);
}

/// What the text of [`every_key_is_read`] says of the proxy.
fn check_proxy(proxy: &ProxyConfig, pem: &str) {
    let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<SocketAddr>>();
    assert_eq!(
        *proxy,
        ProxyConfig {
            listen: addresses(&["0.0.0.0:3128", "[::1]:3129"]),
            listen_tls: addresses(&["0.0.0.0:3130"]),
            transparent_http: Vec::new(),
            transparent_https: Vec::new(),
            public_url: Some("http://proxy.example.com:3128".to_owned()),
            allow_clients: vec!["10.0.0.0/8".parse().unwrap(), "fd00::1/128".parse().unwrap()],
            max_connections: 500,
            max_connections_per_address: 50,
            idle_timeout: Duration::from_secs(90),
            users: vec![
                ProxyUser {
                    name: "ci".to_owned(),
                    password: PasswordSource::File(pem.into()),
                    project: Some("firmware".to_owned()),
                },
                ProxyUser {
                    name: "nightly".to_owned(),
                    password: PasswordSource::Sha256(Sha256::of(b"test")),
                    project: None,
                },
            ],
        }
    );
    // Not together with users.
    let text =
        "proxy.transparent_http = [\"0.0.0.0:3180\"]\nproxy.transparent_https = [\"0.0.0.0:3143\", \"[::1]:3143\"]";
    let proxy = load(text, &[]).unwrap().proxy;
    assert_eq!(proxy.transparent_http, addresses(&["0.0.0.0:3180"]));
    assert_eq!(proxy.transparent_https, addresses(&["0.0.0.0:3143", "[::1]:3143"]));
}

/// Of fetching.
fn check_fetch(fetch: &FetchConfig, pem: &str) {
    assert_eq!(
        *fetch,
        FetchConfig {
            workers: 1,
            per_host: 2,
            per_host_pause: Duration::from_secs(2),
            max_spool_bytes: 5 << 30,
            keep_free: 0,
            max_file_bytes: 4 << 30,
            connect_timeout: Duration::from_millis(500),
            idle_timeout: Duration::from_secs(300),
            retries: 0,
            allow_addresses: vec!["10.1.2.0/24:443".into(), "[fd00::/8]:80".into(), "127.0.0.1:8080".into()],
            trusted_roots: vec![pem.into()],
            minimum_rate: 0,
            require_checksum: true,
            allow_downgrade: true,
            rescue: vec!["https://cas.test/{algorithm}/{hex}".into()],
            referrers: false,
            proxy: Some(OutboundProxyConfig {
                authority: Authority::parse("proxy.test:3128", 80).unwrap(),
                username: Some("me".into()),
                password: Some(SecretSource::File(pem.into())),
                except: vec!["corp.test".into(), "10.0.0.1".into()],
            }),
            credentials: vec![
                CredentialsConfig {
                    host: "registry.test".into(),
                    username: Some("me".into()),
                    secret: SecretSource::File(pem.into()),
                    token_hosts: vec!["auth.test".into()],
                },
                CredentialsConfig {
                    host: "http://other.test:5000".into(),
                    username: None,
                    secret: SecretSource::Here(Secret::new("hunter2")),
                    token_hosts: Vec::new(),
                },
            ],
        }
    );
}

/// And of upkeep.
fn check_upkeep(upkeep: &UpkeepConfig) {
    let days = |days: u64| Duration::from_secs(days * 24 * 3600);
    assert_eq!(
        *upkeep,
        UpkeepConfig { scrub: false, scrub_every: days(7), scrub_rate: 1_000_000, watch: false, watch_every: days(1) }
    );
}
