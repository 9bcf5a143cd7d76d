//! podman and skopeo with a mirror in `registries.conf`. They write the registry into the path, and a path has no port: this
//! way is for registries at port 443 only, so that the test needs a network of its own, where it may listen there.

use std::process::Command;

use serde_json::Value;
use testkit::{ImageClient, RegistryOptions, image::Image, registry_at};

use super::{
    pull,
    stage::{Pinned, two_platforms},
};
use crate::support::{Backends, Server};

#[test]
fn podman_and_skopeo_take_the_mirror_from_registries_conf() {
    in_own_network("images::mirror::podman_and_skopeo_take_the_mirror_from_registries_conf", async || {
        let mut registry = registry_at(443, RegistryOptions { tls: true, ..Default::default() }).await;
        let server = Server::start(Backends::embedded, &registry).await;
        let mut all = Vec::new();
        for (repository, image) in [("team/oci", Image::oci("oci").build()), ("team/multi", two_platforms("multi"))] {
            let pinned = Pinned::push(&registry, repository, image, &[]).await;
            let declared = server.declare_image(&pinned.reference(), Value::from("all")).await;
            let artifact = server.wait_for(&declared, "present").await;
            let reference = artifact["reference"].as_str().expect("an image has a reference").to_owned();
            assert_eq!(reference, format!("localhost/{repository}@{}", pinned.image.digest()));
            all.push((pinned, reference));
        }
        registry.stop().await;
        let mirrored = || ImageClient::new().with_registries_conf(&registries_conf(&server));
        for (pinned, reference) in &all {
            pull::pull_with_podman(&mirrored(), reference, &pinned.image).await;
            pull::copy_with_skopeo(&mirrored(), reference, &pinned.image).await;
            pull::with_podman(&server, pinned).await;
            let tagged = format!("{}:1.0", reference.split('@').next().unwrap_or_default());
            mirrored().podman(&["pull", &tagged]).await.failed();
        }
        server.stop().await;
    });
}

fn registries_conf(server: &Server) -> String {
    let mirror = server.proxy_url().replace("http://", "");
    format!(
        "[[registry]]\nprefix = \"localhost\"\nlocation = \"localhost\"\nmirror-by-digest-only = true\n\n\
         [[registry.mirror]]\nlocation = \"{mirror}/localhost\"\ninsecure = true\n"
    )
}

/// Does this in a network that nobody else is in, by running the test once more in a process that has one.
fn in_own_network(test: &str, inside: impl AsyncFnOnce()) {
    const INSIDE: &str = "DISTMIRROR_TEST_HAS_OWN_NETWORK";
    if std::env::var_os(INSIDE).is_some() {
        return tokio::runtime::Runtime::new().expect("a runtime can be made").block_on(inside());
    }
    let mut command = Command::new("timeout");
    command.args(["--foreground", "--kill-after=5", "200", "unshare", "--net"]);
    if !rustix::process::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    let binary = std::env::current_exe().expect("a test knows its own file");
    command.args(["sh", "-c", "ip link set lo up && exec \"$@\"", "sh"]).arg(binary);
    let output = command.args(["--exact", test, "--nocapture"]).env(INSIDE, "yes").output().expect("`timeout` starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    assert!(text(&output.stdout).contains("1 passed"), "nothing was tested: {}", text(&output.stdout));
}
