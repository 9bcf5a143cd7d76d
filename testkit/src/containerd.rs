//! containerd, the engine below Docker and Kubernetes, with its client `ctr`.

use std::{
    collections::BTreeSet,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

use crate::{
    image_client::{ClientOutput, ImageClient, run},
    process::Process,
};

/// A running containerd with a store of its own.
#[derive(Debug)]
pub struct Containerd {
    _process: Process,
    client: ImageClient,
}

/// Starts containerd for this account, whose proxy and CA it and its client take.
///
/// Which of the two asks the registry depends on the version: that of Debian 12 leaves it to the client.
///
/// # Panics
///
/// When containerd is not installed or does not start.
///
/// # Examples
///
/// ```no_run
/// # async fn example() {
/// let containerd = testkit::containerd(testkit::ImageClient::new()).await;
/// containerd.set_hosts("registry.example", "[host.\"http://127.0.0.1:5000\"]\ncapabilities = [\"pull\", \"resolve\"]");
/// containerd.pull("registry.example/tool:1.0", &[]).await.succeeded();
/// # }
/// ```
pub async fn containerd(client: ImageClient) -> Containerd {
    let config = client.directory().join("containerd.toml");
    std::fs::write(&config, containerd_config(client.directory())).expect("a fresh directory can be written to");
    let mut serve = client.program("containerd");
    serve.arg("--config").arg(config);
    let mut process = Process::spawn("containerd", &mut serve);
    let socket = socket(&client);
    process.wait_until("its socket accepts", async || UnixStream::connect(&socket).is_ok()).await;
    Containerd { _process: process, client }
}

impl Containerd {
    /// Says where images of this registry (`HOST` or `HOST:PORT`) come from: the text of its `hosts.toml`.
    ///
    /// For a registry on `localhost` or 127.0.0.1 that nothing is said about, containerd speaks plain http.
    ///
    /// # Panics
    ///
    /// When the file cannot be written.
    pub fn set_hosts(&self, registry: &str, hosts_toml: &str) {
        // A port is written between underscores here.
        let name = match registry.split_once(':') {
            Some((host, port)) => format!("{host}_{port}_"),
            None => registry.to_owned(),
        };
        let directory = self.hosts_directory().join(name);
        let written =
            std::fs::create_dir_all(&directory).and_then(|()| std::fs::write(directory.join("hosts.toml"), hosts_toml));
        written.unwrap_or_else(|error| panic!("cannot write to `{}`: {error}", directory.display()));
    }

    /// Pulls an image and unpacks it, with more options of `ctr images pull` such as `--all-platforms`.
    pub async fn pull(&self, reference: &str, more_options: &[&str]) -> ClientOutput {
        let hosts = self.hosts_directory().display().to_string();
        // The native snapshotter needs nothing of the kernel.
        let options = ["images", "pull", "--snapshotter", "native", "--hosts-dir", &hosts];
        self.ctr(&[&options[..], more_options, &[reference]].concat()).await
    }

    /// The digests of all manifests and blobs that it holds.
    ///
    /// # Panics
    ///
    /// When it does not answer.
    pub async fn content(&self) -> BTreeSet<String> {
        let listed = self.ctr(&["content", "ls", "--quiet"]).await.succeeded();
        listed.stdout.lines().map(str::to_owned).collect()
    }

    /// Runs `ctr`.
    ///
    /// # Panics
    ///
    /// When it is not installed.
    pub async fn ctr(&self, arguments: &[&str]) -> ClientOutput {
        let mut command = self.client.command("ctr");
        command.arg("--address").arg(socket(&self.client)).args(arguments);
        run(command).await
    }

    fn hosts_directory(&self) -> PathBuf {
        self.client.directory().join("hosts")
    }
}

fn socket(client: &ImageClient) -> PathBuf {
    client.directory().join("containerd.sock")
}

/// Without the part that serves Kubernetes, which wants a network.
fn containerd_config(directory: &Path) -> String {
    let directory = directory.display();
    format!(
        r#"
version = 2
root = "{directory}/containerd"
state = "{directory}/containerd-state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]

[grpc]
address = "{directory}/containerd.sock"

[ttrpc]
address = "{directory}/containerd.sock.ttrpc"
"#
    )
}
