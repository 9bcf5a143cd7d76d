//! Container images beside the tools that people have: fetching beside skopeo, serving beside docker-registry.
//!
//! ```sh
//! cargo bench --bench images           # takes some minutes; needs docker-registry, skopeo, curl and 4 GB of disk
//! ```
//!
//! Each pair is measured in turns, after a round that does not count; the table has the medians. Processor time and peak memory
//! are those of the fetching process, or of the serving one since its start. On a shared machine only the ratios mean anything.
//!
//! distmirror makes everything durable before it says that it is there; skopeo leaves that to the system. A registry without a
//! port in its name is what skopeo can ask for at `/v2/REGISTRY/`, so that the bench runs in a network of its own.

#![expect(clippy::print_stdout, reason = "its table is its result")]

#[expect(dead_code, reason = "the other benches use the rest")]
mod support;
#[path = "support/usage.rs"]
mod usage;

use std::{os::unix::process::CommandExt, path::PathBuf, process::Command};

use support::{Mirror, resident_kib_of_group};
use tempfile::TempDir;
use testkit::{ImageClient, Registry, RegistryOptions, image::Image, registry_at};
use usage::{Usage, fetch_once, measure};

const LAYERS: usize = 10;
const LAYER_BYTES: usize = 50_000_000;
const ROUNDS: usize = 5;
/// The port that is left out of `http://localhost/`.
const PORT: u16 = 80;

fn main() {
    move_into_own_network();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let registry = runtime.block_on(registry_at(PORT, RegistryOptions::default()));
    let images = [("bench/ten", LAYERS, LAYER_BYTES), ("bench/one", 1, LAYERS * LAYER_BYTES)];
    let [ten, one] = images.map(|(repository, layers, bytes)| {
        let image = Image::oci(repository).layers(layers).layer_bytes(bytes).uncompressed().build();
        runtime.block_on(registry.push(repository, &image, &[]));
        Pushed::new(repository, &image)
    });
    println!("{:<36} {:>9} {:>9} {:>10}", "", "wall s", "CPU s", "peak MiB");
    fetching("ten layers of 50 MB", &ten);
    fetching("one layer of 500 MB", &one);
    pulling(&registry, &ten);
}

/// An image in the registry, without its bytes.
struct Pushed {
    repository: &'static str,
    digest: String,
    layers: Vec<String>,
}

impl Pushed {
    fn new(repository: &'static str, image: &Image) -> Self {
        let layers = image.document()["layers"].as_array().into_iter().flatten();
        let layers = layers.filter_map(|layer| layer["digest"].as_str().map(str::to_owned));
        Self { repository, digest: image.digest().to_owned(), layers: layers.collect() }
    }

    /// As it is named at a host.
    fn at(&self, host: &str) -> String {
        format!("{host}/{}@{}", self.repository, self.digest)
    }
}

/// From the registry into a folder, and into SQLite and a folder.
fn fetching(what: &str, image: &Pushed) {
    let declared = declared(image);
    let ours = || fetch_once(declared.path()).0;
    let theirs = || copy_with_skopeo(&image.at("localhost"), None);
    compare(&format!("fetch {what}"), ("skopeo", &theirs), ("distmirror", &ours));
}

/// A data folder in which the image is declared and not here.
fn declared(image: &Pushed) -> TempDir {
    let folder = TempDir::new().expect("a folder");
    Mirror::start("admin", folder.path(), PORT).declare("image", &image.at("http://localhost"), &[]);
    folder
}

/// From the registry and from the mirror, with the same clients.
fn pulling(registry: &Registry, image: &Pushed) {
    let folder = TempDir::new().expect("a folder");
    let mirror = Mirror::start("serve", folder.path(), PORT);
    mirror.declare("image", &image.at("http://localhost"), &["--wait"]);
    let (theirs, ours) = ("http://127.0.0.1/v2", format!("{}/v2/localhost", mirror.proxy()));
    // It verifies what it has not seen since it started.
    let first = curl(&ours, image, mirror.pid());
    compare(
        "pull with curl, layers in parallel",
        ("docker-registry", &|| curl(theirs, image, registry.pid())),
        ("distmirror", &|| curl(&ours, image, mirror.pid())),
    );
    println!("{}", first.line("  distmirror, first after its start"));
    let face = format!("127.0.0.1:{}/localhost", mirror.proxy_port);
    compare(
        "pull with skopeo",
        ("docker-registry", &|| copy_with_skopeo(&image.at("localhost"), Some(registry.pid()))),
        ("distmirror", &|| copy_with_skopeo(&image.at(&face), Some(mirror.pid()))),
    );
    println!(
        "resident after that: docker-registry {} MiB, distmirror {} MiB",
        resident_kib_of_group(registry.pid()) / 1024,
        resident_kib_of_group(mirror.pid()) / 1024
    );
}

/// Measures both in turns, and prints what came of it.
fn compare(what: &str, (their_name, theirs): (&str, &dyn Fn() -> Usage), (our_name, ours): (&str, &dyn Fn() -> Usage)) {
    theirs();
    ours();
    let (theirs, ours): (Vec<_>, Vec<_>) = (0..ROUNDS).map(|_| (theirs(), ours())).unzip();
    let (theirs, ours) = (Usage::median(&theirs), Usage::median(&ours));
    println!("{what}\n{}\n{}", theirs.line(&format!("  {their_name}")), ours.line(&format!("  {our_name}")));
    let ratio = |of: fn(&Usage) -> f64| of(&ours) / of(&theirs);
    println!(
        "{:<36} {:>9.2} {:>9.2} {:>10.2}",
        "  ratio",
        ratio(|usage| usage.wall_s),
        ratio(|usage| usage.cpu_s),
        ratio(|usage| usage.peak_mib)
    );
}

fn copy_with_skopeo(reference: &str, server: Option<u32>) -> Usage {
    let client = ImageClient::new();
    let to = format!("dir:{}", client.directory().join("copy").display());
    let mut skopeo = client.program("skopeo");
    skopeo.args(["copy", "--src-tls-verify=false", &format!("docker://{reference}"), &to]);
    measure(&mut skopeo, server)
}

/// Downloads all layers at once, to nowhere.
fn curl(base: &str, image: &Pushed, server: u32) -> Usage {
    let mut curl = Command::new("curl");
    curl.args(["--disable", "--fail", "--no-progress-meter", "--noproxy", "*", "--parallel"]);
    for layer in &image.layers {
        curl.args(["--output", "/dev/null", &format!("{base}/{}/blobs/{layer}", image.repository)]);
    }
    measure(&mut curl, Some(server))
}

/// Starts this program once more in a network that nobody else is in, where it may listen on port 80.
fn move_into_own_network() {
    const INSIDE: &str = "DISTMIRROR_BENCH_HAS_OWN_NETWORK";
    if std::env::var_os(INSIDE).is_some() {
        return;
    }
    let mut command = Command::new("unshare");
    command.arg("--net");
    if !rustix::process::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    let program: PathBuf = std::env::current_exe().expect("a program knows its own file");
    command.args(["sh", "-c", "ip link set lo up && exec \"$@\"", "sh"]).arg(program).env(INSIDE, "yes");
    panic!("cannot start it in a network of its own: {}", command.exec());
}
