//! Secrets, planted wherever one can be, and looked for wherever something is told: the log at its most talkative, the metrics, what
//! clients are answered, and what people see.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use base64::prelude::{BASE64_STANDARD, Engine};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::{
    Answer, ForwardProxy, ObjectServer, Registry, RegistryOptions, Upstream, forward_proxy, free_port, image::Image,
    registry,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{Backends, Reach, Server, sqlite};

/// Everything that has a secret, and a server that uses all of it.
struct Stage {
    server: Server,
    upstream: Upstream,
    registry: Registry,
    store: ObjectServer,
    _way_out: ForwardProxy,
    _folder: TempDir,
}

impl Stage {
    async fn set(log_format: &str) -> Self {
        let upstream = Upstream::start(&["files.test"]).await;
        let signed =
            format!("/signed/real?X-Amz-Signature={SIGNATURE}&se=2030&sig={SIGNATURE}&access_token={SIGNATURE}");
        upstream.on("/signed/file", move |_| Answer::new(302).header("location", &signed));
        upstream.on("/signed/real", |_| Answer::new(403).body("expired"));
        let looping = format!("/loop?token={SIGNATURE}");
        upstream.on("/loop", move |_| Answer::new(302).header("location", &looping));
        upstream.file("/file", "the file");
        let registry = registry(RegistryOptions { tls: true, sign_in: true }).await;
        let way_out = forward_proxy(Some(("me", WAY_OUT))).await;
        let (store, folder) = (testkit::garage().await, TempDir::new().expect("a temporary folder"));
        let server = Self::server(&upstream, &registry, &way_out, &store, folder.path(), log_format).await;
        Self { server, upstream, registry, store, _way_out: way_out, _folder: folder }
    }

    async fn server(
        upstream: &Upstream,
        registry: &Registry,
        way_out: &ForwardProxy,
        store: &ObjectServer,
        folder: &Path,
        log_format: &str,
    ) -> Server {
        let proxy_password = folder.join("proxy-password");
        fs::write(&proxy_password, USER).expect("writes the password");
        let reach = Reach::from(upstream).and(registry).signing_in(registry, folder);
        let reach = reach.with_fetch(&format!(
            "proxy = \"http://me:{WAY_OUT}@{}\"\nproxy_except = [\"127.0.0.1\", \"localhost\"]\n\
             [[fetch.credentials]]\nhost = \"http://127.0.0.1:{}\"\ntoken = \"{TOKEN}\"\n",
            way_out.authority(),
            upstream.http_port()
        ));
        let reach = reach.with_proxy(&format!(
            "[[proxy.users]]\nname = \"ci\"\npassword_file = {proxy_password:?}\n\
             [log]\nlevel = \"trace,sqlx=trace,object_store=trace\"\nformat = {log_format:?}\n"
        ));
        let options = store.options();
        let backends = |folder: &Path| Backends { catalog: sqlite(folder), blobs: store.fresh_url(), options };
        Server::start(backends, reach).await
    }

    /// What is planted, in clear and as it travels.
    fn secrets(&self) -> Vec<String> {
        let options = self.store.options().into_iter();
        let keys = options.filter(|(key, _)| key.contains("secret")).map(|(_, value)| value);
        let basic = |user: &str, password: &str| BASE64_STANDARD.encode(format!("{user}:{password}"));
        let registry = (self.registry.user(), self.registry.password());
        let travelling =
            [basic("ci", USER), basic("me", WAY_OUT), basic(registry.0, registry.1), basic("u", USER_INFO)];
        let clear = [USER, TOKEN, WAY_OUT, SIGNATURE, COOKIE, BEARER, USER_INFO, registry.1];
        clear.into_iter().map(str::to_owned).chain(travelling).chain(keys).collect()
    }

    /// Asks for everything in every way, with whatever a client might send; what it is answered.
    async fn everything(&self) -> String {
        let mut told = String::new();
        for (path, state) in [("/file", "present"), ("/signed/file", "failed"), ("/loop", "failed")] {
            let declared = self.server.declare(&self.upstream.url(path), None).await;
            told += &self.server.wait_for(&declared, state).await.to_string();
            let id = declared["id"].as_str().expect("an id").to_owned();
            told += &self.page(&format!("/artifacts/{id}")).await;
            for uri in [self.upstream.url(path), self.upstream.https_url(path)] {
                told += &self.ask(&uri).await;
            }
        }
        let image = Image::oci("app").build();
        self.registry.push("team/app", &image, &["1"]).await;
        let reference = format!("{}/team/app@{}", self.registry.proxied_host(), image.digest());
        let declared = self.server.declare_image(&reference, Value::Null).await;
        told += &self.server.wait_for(&declared, "present").await.to_string();
        let look = json!({"kind": "file", "uri": self.upstream.url("/signed/file")});
        told += &self.server.api(Method::POST, "/artifacts/preflight", Some(look)).await.1.to_string();
        told += &self.raw().await;
        for page in ["/", "/misses", "/artifacts", "/metrics"] {
            told += &self.page(page).await;
        }
        told
    }

    async fn page(&self, path: &str) -> String {
        let page = reqwest::Client::builder().no_proxy().build().expect("a client");
        page.get(format!("{}{path}", self.server.admin_url())).send().await.expect("a page").text().await.expect("text")
    }

    async fn ask(&self, uri: &str) -> String {
        let (user, bearer, cookie) =
            (format!("ci:{USER}"), format!("Authorization: Bearer {BEARER}"), format!("Cookie: session={COOKIE}"));
        let answer = self.server.curl(&["--proxy-user", &user, "-H", &bearer, "-H", &cookie, uri]).await;
        format!("{:?} {}", answer.headers, String::from_utf8_lossy(&answer.body))
    }

    /// What curl would not send: a password before an `@`.
    async fn raw(&self) -> String {
        let address = self.server.proxy_url().replace("http://", "");
        let host = format!("127.0.0.1:{}", self.upstream.http_port());
        let mut told = String::new();
        for target in [format!("http://u:{USER_INFO}@{host}/x"), format!("/http/u:{USER_INFO}@{host}/x")] {
            let mut stream = TcpStream::connect(&address).await.expect("the proxy listens");
            let basic = BASE64_STANDARD.encode(format!("ci:{USER}"));
            let head = format!(
                "GET {target} HTTP/1.1\r\nHost: {host}\r\nProxy-Authorization: Basic {basic}\r\n\
                 Authorization: Basic {basic}\r\nConnection: close\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).await.expect("it takes the request");
            stream.read_to_string(&mut told).await.expect("it answers");
        }
        told
    }
}

#[tokio::test]
async fn no_secret_is_ever_told() {
    for log_format in ["text", "json"] {
        let stage = Stage::set(log_format).await;
        let told = stage.everything().await;
        let log = stage.server.log();
        for part in ["answered", "fetched", "fetch failed", "403 Forbidden", "redirect loop", "****"] {
            assert!(log.contains(part), "the log tells of `{part}`: {log}");
        }
        for secret in stage.secrets() {
            assert!(secret.len() > 7, "`{secret}` could be there by chance");
            for (place, text) in [("log", &log), ("answers", &told)] {
                let line = text.lines().find(|line| line.contains(&secret));
                assert_eq!(line, None, "`{secret}` is in the {place}");
            }
        }
    }
}

#[tokio::test]
async fn a_database_that_is_away_is_named_without_its_password() {
    let folder = TempDir::new().expect("a temporary folder");
    let url = format!("postgres://planted-user:{USER}@127.0.0.1:{}/planted?password={TOKEN}", free_port());
    let mut command = Command::new(env!("CARGO_BIN_EXE_distmirror"));
    command.args(["serve", "--data-dir"]).arg(folder.path()).env("DISTMIRROR__CATALOG__URL", url);
    command.env("DISTMIRROR__LOG__LEVEL", "trace,sqlx=trace").stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("it does not panic");
    let output = output.expect("the binary runs");
    let told = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(told.contains("planted-user") && told.contains("catalog.url"), "{told}");
    assert!(!told.contains(USER) && !told.contains(TOKEN), "{told}");
}

const USER: &str = "planted-of-a-user";
const TOKEN: &str = "planted-token-of-files";
const WAY_OUT: &str = "planted-on-the-way-out";
const SIGNATURE: &str = "planted0signature0of0a0redirect";
const COOKIE: &str = "planted-cookie";
const BEARER: &str = "planted-bearer";
const USER_INFO: &str = "planted-user-info";
