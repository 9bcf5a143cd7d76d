//! The real clients of registries, skopeo and podman, with files and an environment of their own.
//!
//! They are told everything by flags, by variables and by files below a `HOME` that is empty otherwise, so nothing
//! of this machine's configuration takes part, and nothing of this machine's storage is touched.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::place::{is_root, program, temporary_directory};

/// When root runs them, skopeo and podman remember blobs of earlier pulls here, and no option says otherwise.
const HIDE_CACHE: &str = r#"
    { mkdir -p /var/lib/containers && mount -t tmpfs none /var/lib/containers; } 2> /dev/null
    exec "$@"
"#;

/// What a client did.
#[derive(Debug, Clone)]
pub struct ClientOutput {
    /// Its exit code: 0 when all went well, 124 when it took too long.
    pub exit: i32,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl ClientOutput {
    /// Itself, when all went well.
    ///
    /// # Panics
    ///
    /// When not; the panic shows what the client said.
    #[track_caller]
    pub fn succeeded(self) -> Self {
        assert!(self.exit == 0, "the client ended with {}\n{}{}", self.exit, self.stdout, self.stderr);
        self
    }

    /// Itself, when the client failed.
    ///
    /// # Panics
    ///
    /// When it did not; the panic shows what the client said.
    #[track_caller]
    pub fn failed(self) -> Self {
        assert!(self.exit != 0, "the client succeeded\n{}{}", self.stdout, self.stderr);
        self
    }
}

/// A user's account on a machine with skopeo and podman. What they store or are told stays until it is dropped.
///
/// # Examples
///
/// ```no_run
/// use testkit::{ImageClient, RegistryOptions, image::Image};
///
/// # async fn example() {
/// let registry = testkit::registry(RegistryOptions { tls: true, ..Default::default() }).await;
/// let image = Image::oci("tool").build();
/// registry.push("team/tool", &image, &[]).await;
/// let client = ImageClient::new().trusting(&registry.ca_pem_path());
/// let reference = format!("{}/team/tool@{}", registry.host(), image.digest());
/// client.podman(&["pull", &reference]).await.succeeded();
/// # }
/// ```
#[derive(Debug)]
pub struct ImageClient {
    environment: Vec<(String, String)>,
    directory: TempDir,
}

impl Default for ImageClient {
    fn default() -> Self {
        Self::new()
    }
}

impl ImageClient {
    /// A fresh account that knows no proxy, and no CA but those of the system.
    pub fn new() -> Self {
        let client = Self { environment: Vec::new(), directory: temporary_directory() };
        client.write("policy.json", r#"{ "default": [{ "type": "insecureAcceptAnything" }] }"#);
        let signatures = client.directory.path().join("signatures");
        let lookaside = format!("default-docker: {{ lookaside: 'file://{}' }}\n", signatures.display());
        client.write("registries.d/default.yaml", &lookaside);
        client.with_registries_conf("unqualified-search-registries = []\n")
    }

    /// Goes through this proxy, but never to `localhost` or 127.0.0.0/8: see
    /// [`Registry::proxied_host`](crate::Registry::proxied_host).
    #[must_use]
    pub fn through(self, proxy_url: &str) -> Self {
        self.with_variable("HTTP_PROXY", proxy_url).with_variable("HTTPS_PROXY", proxy_url)
    }

    /// Trusts the certificates in this file, and no others.
    #[must_use]
    pub fn trusting(self, ca_pem: &Path) -> Self {
        let directory = self.directory.path().join("no-certificates").display().to_string();
        self.with_variable("SSL_CERT_FILE", &ca_pem.display().to_string()).with_variable("SSL_CERT_DIR", &directory)
    }

    /// Has this `registries.conf`, where mirrors are set up for skopeo and podman.
    #[must_use]
    pub fn with_registries_conf(self, content: &str) -> Self {
        self.write("registries.conf", content);
        self
    }

    /// Has this environment variable too; otherwise there are only those that name places, and `PATH`.
    #[must_use]
    pub fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Its home, for what it is to write, such as an image that is copied to `dir:...`.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Runs skopeo.
    ///
    /// # Panics
    ///
    /// When skopeo is not installed.
    pub async fn skopeo(&self, arguments: &[&str]) -> ClientOutput {
        let mut command = self.command("skopeo");
        command.args(arguments);
        run(command).await
    }

    /// Runs podman, whose storage is a directory of its own. It can pull; running containers needs more than a test
    /// machine may allow.
    ///
    /// # Panics
    ///
    /// When podman is not installed.
    pub async fn podman(&self, arguments: &[&str]) -> ClientOutput {
        let mut command = self.command("podman");
        // podman takes no path of more than fifty characters for the second.
        for (option, name) in
            [("--root", "storage"), ("--runroot", "run"), ("--tmpdir", "tmp"), ("--network-config-dir", "networks")]
        {
            command.arg(option).arg(self.directory.path().join(name));
        }
        // Needs neither a kernel with overlayfs nor systemd.
        command.args(["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"]).args(arguments);
        run(command).await
    }

    /// A client, which is ended when it hangs, so that a test shows what it said.
    pub(crate) fn command(&self, name: &str) -> Command {
        // In the foreground it stays in the test's process group, and ends with the test.
        self.behind(&["timeout", "--foreground", "--kill-after=5", "120"], name)
    }

    /// A program such as skopeo as this account runs it, for who waits for its end himself: nobody ends it when it hangs.
    ///
    /// # Panics
    ///
    /// When it is not installed.
    pub fn program(&self, name: &str) -> Command {
        self.behind(&[], name)
    }

    /// The program with this account's environment, in its own namespace of mounts: what it mounts is gone with it.
    fn behind(&self, first: &[&str], name: &str) -> Command {
        // Some want to give files to root. When the test is not root, being root over this user's files is enough.
        let namespace =
            if is_root() { &["unshare", "--mount"][..] } else { &["unshare", "--mount", "--map-root-user"] };
        let words = [first, namespace, &["sh", "-c", HIDE_CACHE, "sh"]].concat();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg(program(name));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        for name in ["HOME", "XDG_RUNTIME_DIR", "TMPDIR"] {
            command.env(name, self.directory.path());
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Writes one of the files that skopeo and podman look for below `HOME` before they look into `/etc`.
    fn write(&self, name: &str, content: &str) {
        let path = self.directory.path().join(".config/containers").join(name);
        std::fs::create_dir_all(path.parent().expect("a file has a directory")).expect("a fresh directory is writable");
        std::fs::write(path, content).expect("a fresh directory is writable");
    }
}

/// Runs a client to its end.
pub(crate) async fn run(mut command: Command) -> ClientOutput {
    let run = move || match command.stdin(Stdio::null()).output() {
        Ok(output) => output,
        Err(error) => panic!("cannot start {command:?}: {error}"),
    };
    let output = tokio::task::spawn_blocking(run).await.expect("running a client does not panic");
    ClientOutput {
        exit: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
