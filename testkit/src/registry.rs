//! A registry of container images: Debian's docker-registry, with a storage directory of its own.

mod access_log;
mod push;

use std::{
    fmt::Write,
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use tempfile::TempDir;

pub use self::access_log::RegistryRequest;
use self::push::Pusher;
use crate::{
    authority::Identity,
    image::Image,
    place::{free_port, program, temporary_directory},
    process::{Process, run_to_end},
};

/// How this process calls itself, so that its own requests can be told from those of others.
const OWN_AGENT: &str = "testkit";

const USER: &str = "puller";

/// How long a line may take to reach the access log.
const LOGGED_WITHIN: Duration = Duration::from_secs(10);

/// What kind of registry; plain http for everybody unless it says otherwise.
#[derive(Debug, Clone, Copy, Default)]
pub struct RegistryOptions {
    /// Speaks https, with a certificate for `localhost` and 127.0.0.1 from a CA of its own.
    pub tls: bool,
    /// Wants [`Registry::user`] and [`Registry::password`], by basic authentication.
    pub sign_in: bool,
}

/// A running registry. Dropping it stops it and forgets its content.
#[derive(Debug)]
pub struct Registry {
    process: Option<Process>,
    options: RegistryOptions,
    port: u16,
    password: String,
    client: reqwest::Client,
    earlier_log: String,
    marks: AtomicU32,
    directory: TempDir,
}

/// Starts an empty registry.
///
/// # Panics
///
/// When docker-registry (or `htpasswd`, for one with sign-in) is not installed or does not start.
///
/// # Examples
///
/// ```no_run
/// use testkit::{RegistryOptions, image::Image};
///
/// # async fn example() {
/// let image = Image::oci("tool").build();
/// let registry = testkit::registry(RegistryOptions { tls: true, ..Default::default() }).await;
/// registry.push("team/tool", &image, &["1.0"]).await;
/// let reference = format!("{}/team/tool@{}", registry.host(), image.digest());
/// # }
/// ```
pub async fn registry(options: RegistryOptions) -> Registry {
    registry_at(free_port(), options).await
}

/// Like [`registry`], on this port of 127.0.0.1: 443 is for a test that has a network of its own.
///
/// # Panics
///
/// Like [`registry`], and when the port is taken.
pub async fn registry_at(port: u16, options: RegistryOptions) -> Registry {
    let directory = temporary_directory();
    // A connection that is kept would be a dead one after a stop.
    let mut client = reqwest::Client::builder().user_agent(OWN_AGENT).pool_max_idle_per_host(0);
    if options.tls {
        let identity = Identity::new(&[]);
        write(&directory, "ca.pem", &identity.ca_pem);
        write(&directory, "certificate.pem", &identity.certificate_pem());
        write(&directory, "key.pem", &identity.key_pem());
        let authority =
            reqwest::Certificate::from_pem(identity.ca_pem.as_bytes()).expect("our own CA is a certificate");
        client = client.tls_certs_only([authority]);
    }
    // Each has another one, so that a password which is sent to the wrong registry is refused there.
    let password = format!("sesame: {port} & %");
    if options.sign_in {
        write(&directory, "htpasswd", &password_line(&password).await);
    }
    write(&directory, "config.yml", &config(options, port, &directory));
    let client = client.build().expect("a client without special wishes can be made");
    let (earlier_log, marks) = (String::new(), AtomicU32::new(0));
    let mut registry = Registry { process: None, options, port, password, client, earlier_log, marks, directory };
    registry.start().await;
    registry
}

impl Registry {
    /// Where it listens, as it begins the name of an image: `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its name for clients that are to go through a proxy: `LOCALHOST:PORT`.
    ///
    /// Programs written in Go ask nothing on `localhost` or 127.0.0.0/8 through a proxy, whatever they are told. They
    /// compare with care for case, and names of hosts have none.
    pub fn proxied_host(&self) -> String {
        format!("LOCALHOST:{}", self.port)
    }

    /// `http://127.0.0.1:PORT`, or with `https`.
    pub fn url(&self) -> String {
        let scheme = if self.options.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.host())
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process id, for who measures it.
    ///
    /// # Panics
    ///
    /// When it is stopped.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("a registry that is stopped has no process").pid()
    }

    /// Who may pull, if it wants to know.
    pub fn user(&self) -> &'static str {
        USER
    }

    /// The password of [`Registry::user`]; each registry has another one.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// The certificate of the CA that signed its certificate.
    ///
    /// # Panics
    ///
    /// When it speaks plain http.
    pub fn ca_pem_path(&self) -> PathBuf {
        assert!(self.options.tls, "a registry that speaks plain http has no certificate");
        self.directory.path().join("ca.pem")
    }

    /// Stores the image, what is below it, and these tags for it.
    ///
    /// # Panics
    ///
    /// When the registry refuses; the panic says what it said.
    pub async fn push(&self, repository: &str, image: &Image, tags: &[&str]) {
        let login = self.options.sign_in.then_some((USER, self.password.as_str()));
        let pusher = Pusher { client: &self.client, login, base: format!("{}/v2/{repository}", self.url()) };
        pusher.push(image, tags).await;
    }

    /// The file in which it keeps the blob or manifest with this digest, for a test that damages it.
    ///
    /// # Panics
    ///
    /// When it has none.
    pub fn stored_file(&self, digest: &str) -> PathBuf {
        let (algorithm, hex) = digest.split_once(':').expect("a digest has its algorithm in front");
        let blobs = self.directory.path().join("data/docker/registry/v2/blobs");
        let file = blobs.join(algorithm).join(hex.get(..2).unwrap_or_default()).join(hex).join("data");
        assert!(file.is_file(), "`{}` is not stored: there is no `{}`", digest, file.display());
        file
    }

    /// What others asked for so far, oldest first; pushes are left out.
    pub async fn requests(&self) -> Vec<RegistryRequest> {
        access_log::requests(&self.settled_log().await)
    }

    /// The registry is gone: nobody listens any more, and open connections end at once.
    pub async fn stop(&mut self) {
        self.earlier_log = self.settled_log().await;
        self.process = None;
    }

    /// The registry is back, on the same port and with the same content. Does nothing while it runs.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub async fn start(&mut self) {
        if self.process.is_some() {
            return;
        }
        let mut serve = Command::new(program("docker-registry"));
        // Variables that begin with REGISTRY_ would change its configuration.
        serve.env_clear().arg("serve").arg(self.directory.path().join("config.yml"));
        let mut process = Process::spawn("docker-registry", &mut serve);
        process.wait_for_port(self.port).await;
        self.process = Some(process);
    }

    /// A request is logged after it is answered. Once one of ours is in the log, those that ended before it are.
    async fn settled_log(&self) -> String {
        let Some(process) = &self.process else { return self.earlier_log.clone() };
        let mark = format!("mark={}&", self.marks.fetch_add(1, Ordering::Relaxed));
        let _ = self.client.get(format!("{}/v2/?{mark}", self.url())).send().await;
        let started = Instant::now();
        while !process.log().contains(&mark) && started.elapsed() < LOGGED_WITHIN {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        format!("{}{}", self.earlier_log, process.log())
    }
}

fn config(options: RegistryOptions, port: u16, directory: &TempDir) -> String {
    let directory = directory.path().display();
    let mut config = format!(
        "version: 0.1
log: {{level: warn, accesslog: {{disabled: false}}}}
storage: {{filesystem: {{rootdirectory: {directory}/data}}, delete: {{enabled: true}}}}
http:
  addr: 127.0.0.1:{port}
  secret: testkit
"
    );
    if options.tls {
        let _ = writeln!(config, "  tls: {{certificate: {directory}/certificate.pem, key: {directory}/key.pem}}");
    }
    if options.sign_in {
        let _ = writeln!(config, "auth: {{htpasswd: {{realm: testkit, path: {directory}/htpasswd}}}}");
    }
    config
}

/// docker-registry takes bcrypt only; the least cost keeps requests quick.
async fn password_line(password: &str) -> String {
    let mut command = Command::new(program("htpasswd"));
    command.args(["-nbB", "-C", "4", USER, password]);
    run_to_end(command).await
}

fn write(directory: &TempDir, name: &str, content: &str) {
    std::fs::write(directory.path().join(name), content).expect("a fresh directory can be written to");
}
