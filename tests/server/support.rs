//! A running distmirror as a test sees it: the binary, started with a configuration of its own on free ports.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{Duration, Instant},
};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::{CurlOutput, Process, Registry, Upstream, curl, free_port, run_to_end};

/// Where the data of a server lives.
#[derive(Debug, Clone)]
pub(crate) struct Backends {
    /// `catalog.url`
    pub(crate) catalog: String,
    /// `blobs.url`
    pub(crate) blobs: String,
    /// `blobs.options`
    pub(crate) options: Vec<(String, String)>,
}

impl Backends {
    /// SQLite and a directory below this one.
    pub(crate) fn embedded(folder: &Path) -> Self {
        Self { catalog: sqlite(folder), blobs: local(folder), options: Vec::new() }
    }
}

/// The URL of a SQLite catalog in a folder.
pub(crate) fn sqlite(folder: &Path) -> String {
    format!("sqlite://{}/catalog.db", folder.display())
}

/// The URL of a blob store in a folder.
pub(crate) fn local(folder: &Path) -> String {
    format!("file://{}/blobs", folder.display())
}

/// What a server may reach and trusts on this machine, and what else its configuration says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reach {
    ports: Vec<u16>,
    trusted_roots: Vec<PathBuf>,
    is_patient: bool,
    blobs: String,
    proxy: String,
    more: String,
}

impl Reach {
    /// Reaches this one too.
    pub(crate) fn and(mut self, other: impl Into<Self>) -> Self {
        let other = other.into();
        self.ports.extend(other.ports);
        self.trusted_roots.extend(other.trusted_roots);
        self.is_patient |= other.is_patient;
        self.blobs += &other.blobs;
        self.proxy += &other.proxy;
        self.more += &other.more;
        self
    }

    /// Waits for an upstream that sends nothing, longer than any test takes.
    pub(crate) fn patient(mut self) -> Self {
        self.is_patient = true;
        self
    }

    /// May reach this port of this machine.
    pub(crate) fn reaching(mut self, port: u16) -> Self {
        self.ports.push(port);
        self
    }

    /// Says this in `[blobs]`, too.
    pub(crate) fn with_blobs(mut self, lines: &str) -> Self {
        self.blobs += lines;
        self
    }

    /// Hashes nothing again by itself, so that nothing is read but what clients ask for.
    pub(crate) fn without_scrubs(mut self) -> Self {
        self.more += "[upkeep]\nscrub = false\n";
        self
    }

    /// Says this in `[proxy]`, too.
    pub(crate) fn with_proxy(mut self, lines: &str) -> Self {
        self.proxy += lines;
        self
    }

    /// Says this in `[fetch]`, too.
    pub(crate) fn with_fetch(mut self, lines: &str) -> Self {
        self.more = format!("{lines}{}", self.more);
        self
    }

    /// Signs in at this registry, under the name by which clients reach it through the proxy. The password goes into a file
    /// in this folder.
    pub(crate) fn signing_in(mut self, registry: &Registry, folder: &Path) -> Self {
        let file = folder.join("password");
        fs::write(&file, registry.password()).expect("writes the password");
        let (host, username) = (registry.proxied_host(), registry.user());
        write!(
            self.more,
            "[[fetch.credentials]]\nhost = {host:?}\nusername = {username:?}\npassword_file = {file:?}\n"
        )
        .expect("writing to a String cannot fail");
        self
    }
}

impl From<&Upstream> for Reach {
    fn from(upstream: &Upstream) -> Self {
        let ports = vec![upstream.http_port(), upstream.https_port()];
        Self { ports, trusted_roots: vec![upstream.ca_pem_path()], ..Self::default() }
    }
}

impl From<&Registry> for Reach {
    fn from(registry: &Registry) -> Self {
        let is_secure = registry.url().starts_with("https");
        let trusted_roots = is_secure.then(|| registry.ca_pem_path()).into_iter().collect();
        Self { ports: vec![registry.port()], trusted_roots, ..Self::default() }
    }
}

/// A running server.
pub(crate) struct Server {
    folder: TempDir,
    process: Process,
    roles: &'static [&'static str],
    proxy_port: u16,
    admin_port: u16,
    http: reqwest::Client,
}

impl Server {
    /// Starts all roles over these backends, with this upstream reachable and trusted.
    pub(crate) async fn start(backends: impl FnOnce(&Path) -> Backends, reach: impl Into<Reach>) -> Self {
        Self::start_role(&["serve"], backends, reach).await
    }

    /// Starts one role (or `serve`).
    pub(crate) async fn start_role(
        roles: &'static [&'static str],
        backends: impl FnOnce(&Path) -> Backends,
        reach: impl Into<Reach>,
    ) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let (proxy_port, admin_port) = (free_port(), free_port());
        let text = configuration(&backends(folder.path()), folder.path(), proxy_port, admin_port, &reach.into());
        fs::write(folder.path().join("distmirror.toml"), text).expect("writes its configuration");
        let http = reqwest::Client::builder().no_proxy().build().expect("an HTTP client");
        let process = spawn(folder.path(), roles);
        let mut server = Self { folder, process, roles, proxy_port, admin_port, http };
        server.wait().await;
        server
    }

    /// Kills the process without a word, and starts it again.
    pub(crate) async fn kill_and_restart(&mut self) {
        self.process.kill9();
        self.process = spawn(self.folder.path(), self.roles);
        self.wait().await;
    }

    /// Ends the process as a service manager would; it must exit with 0. What it leaves is in its folder.
    pub(crate) async fn stop(self) -> TempDir {
        let Self { mut process, folder, .. } = self;
        // Meanwhile our own clients learn that their connections are to end, which the server waits for.
        let end = tokio::task::spawn_blocking(move || (process.terminate().code(), process.log()));
        let (code, log) = end.await.expect("it does not panic");
        assert_eq!(code, Some(0), "{log}");
        folder
    }

    /// The folder of its data and its configuration.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The configuration file.
    pub(crate) fn configuration(&self) -> PathBuf {
        self.folder.path().join("distmirror.toml")
    }

    /// Where the admin side answers.
    pub(crate) fn admin_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.admin_port)
    }

    /// Where the proxy answers.
    pub(crate) fn proxy_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.proxy_port)
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// A call of the REST API: status and body.
    pub(crate) async fn api(&self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let mut request = self.http.request(method, format!("{}/api/v1{path}", self.admin_url()));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.expect("the admin side answers");
        let status = response.status();
        (status, response.json().await.unwrap_or(Value::Null))
    }

    /// Declares a file; the artifact.
    pub(crate) async fn declare(&self, uri: &str, checksum: Option<&str>) -> Value {
        self.declare_as(json!({"kind": "file", "uri": uri, "reason": "the test needs it", "sha256": checksum})).await
    }

    /// Declares an image with these platforms (a list, `all`, or null); the artifact.
    pub(crate) async fn declare_image(&self, reference: &str, platforms: Value) -> Value {
        let reason = "the test needs it";
        self.declare_as(json!({"kind": "image", "reference": reference, "reason": reason, "platforms": platforms}))
            .await
    }

    async fn declare_as(&self, declaration: Value) -> Value {
        let (status, artifact) = self.api(Method::POST, "/artifacts", Some(declaration)).await;
        assert!(status == StatusCode::CREATED || status == StatusCode::OK, "{status} {artifact}");
        artifact
    }

    /// Runs a command of the binary against this server, such as `list`.
    pub(crate) async fn command(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_distmirror"));
        command.args(arguments).env("DISTMIRROR_SERVER", self.admin_url());
        let run = tokio::task::spawn_blocking(move || command.output().expect("the binary runs"));
        tokio::time::timeout(Duration::from_secs(60), run).await.expect("it ends in time").expect("it does not panic")
    }

    /// Waits until an artifact is in this state; the artifact.
    pub(crate) async fn wait_for(&self, artifact: &Value, state: &str) -> Value {
        let id = artifact["id"].as_str().expect("an artifact has an id");
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let (_, artifact) = self.api(Method::GET, &format!("/artifacts/{id}"), None).await;
            if artifact["state"] == state {
                return artifact;
            }
            assert!(Instant::now() < until, "not {state}: {artifact}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The certificate of the server's own CA, as its proxy hands it out.
    pub(crate) async fn ca_pem_path(&self) -> PathBuf {
        let ca = self.folder.path().join("ca.pem");
        if !ca.exists() {
            let pem = self.http.get(format!("{}/ca.pem", self.proxy_url())).send().await.expect("the proxy answers");
            fs::write(&ca, pem.bytes().await.expect("the certificate")).expect("writes the certificate");
        }
        ca
    }

    /// Real curl through the proxy, trusting the server's own CA.
    pub(crate) async fn curl(&self, arguments: &[&str]) -> CurlOutput {
        let (proxy, ca) = (self.proxy_url(), self.ca_pem_path().await.display().to_string());
        let mut all = vec!["--proxy", &proxy, "--noproxy", "", "--cacert", &ca];
        all.extend(arguments);
        curl(&all).await
    }

    async fn wait(&mut self) {
        let ports = [("proxy", self.proxy_port), ("admin", self.admin_port)];
        let wanted = ports.into_iter().filter(|(role, _)| self.roles.contains(role) || self.roles.contains(&"serve"));
        for (_, port) in wanted {
            let (http, url) = (self.http.clone(), format!("http://127.0.0.1:{port}/readyz"));
            let ready = async || http.get(&url).send().await.is_ok_and(|answer| answer.status() == StatusCode::OK);
            self.process.wait_until("ready", ready).await;
        }
    }
}

/// Runs a script with a network, mounts and processes of its own; what it printed. Its arguments are the folder and the binary.
pub(crate) async fn in_namespaces(script: &str, folder: &Path) -> String {
    let mut command = Command::new("timeout");
    // With the first process of the namespace all others end.
    command.args(["100", "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script, "sh"]);
    command.arg(folder).arg(env!("CARGO_BIN_EXE_distmirror"));
    run_to_end(command).await
}

fn spawn(folder: &Path, roles: &[&str]) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_distmirror"));
    command.args(roles).arg("--config").arg(folder.join("distmirror.toml")).current_dir(folder);
    Process::spawn("distmirror", &mut command)
}

fn configuration(backends: &Backends, folder: &Path, proxy_port: u16, admin_port: u16, reach: &Reach) -> String {
    let options: String = backends.options.iter().map(|(key, value)| format!("{key} = {value:?}\n")).collect();
    // `localhost` may be either of the two.
    let addresses = reach.ports.iter().flat_map(|port| [format!("127.0.0.0/8:{port}"), format!("[::1]:{port}")]);
    format!(
        "data_dir = {data:?}\n\
         [catalog]\nurl = {catalog:?}\n\
         [blobs]\nurl = {blobs:?}\n{more_blobs}[blobs.options]\n{options}\
         [proxy]\nlisten = [\"127.0.0.1:{proxy_port}\"]\n{proxy}\
         [admin]\nlisten = [\"127.0.0.1:{admin_port}\"]\n\
         [fetch]\nretries = 0\nidle_timeout = {idle:?}\nallow_addresses = {addresses:?}\ntrusted_roots = {roots:?}\n{more}",
        data = folder.join("data"),
        idle = if reach.is_patient { "10m" } else { "5s" },
        catalog = backends.catalog,
        blobs = backends.blobs,
        more_blobs = reach.blobs,
        addresses = addresses.collect::<Vec<_>>(),
        roots = reach.trusted_roots,
        proxy = reach.proxy,
        more = reach.more,
    )
}
