//! How clients pull an image: what each is told, ready to paste. Pure.
//!
//! Two things differ between registries. One whose name has a port cannot stand inside of a reference, so that podman and
//! skopeo cannot ask the mirror for it by path. And programs written in Go, as all of these are, never ask a proxy for what is
//! on their own machine.

use std::net::IpAddr;

use distmirror_core::{ImageName, Registry, Scheme};
use serde::Serialize;

use crate::pages::artifact::command::{Command, quoted, word};

#[derive(Debug, Serialize)]
pub(super) struct Client {
    name: &'static str,
    /// Whether it must trust the CA certificate.
    needs_ca: bool,
    commands: Vec<Command>,
    /// What else is worth knowing.
    hint: Option<&'static str>,
}

/// Every client that can pull it from the mirror that is reached under this address.
pub(super) fn clients(image: &ImageName, media_type: Option<&str>, proxy: &str) -> Vec<Client> {
    let pull = Pull { image, proxy, ways: Ways::to(image.repository().registry()) };
    let clients = [pull.podman(), pull.skopeo(), pull.containerd(), pull.docker(), pull.curl(media_type)];
    clients.into_iter().filter(|client| !client.commands.is_empty()).collect()
}

/// By which ways clients written in Go reach a registry at the mirror.
struct Ways {
    /// As a part of the path at the mirror's own address.
    path: bool,
    /// Through the proxy.
    proxy: bool,
}

impl Ways {
    fn to(registry: &Registry) -> Self {
        let host = registry.upstream(Scheme::Https).host.bare();
        let is_local = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        Self { path: !registry.as_str().contains(':'), proxy: !is_local }
    }
}

struct Pull<'a> {
    image: &'a ImageName,
    proxy: &'a str,
    ways: Ways,
}

impl Pull<'_> {
    fn podman(&self) -> Client {
        let (registry, proxy) = (self.image.repository().registry(), self.proxy);
        let pull = format!("podman pull {}", word(self.image.as_str()));
        let mut commands = Vec::new();
        if self.ways.path {
            let conf = format!(
                "[[registry]]\nprefix = \"{registry}\"\nlocation = \"{proxy}/{registry}\"\ninsecure = true    # plain http"
            );
            commands.push(Command::new("Once, in /etc/containers/registries.conf.d/distmirror.conf", conf));
            commands.push(Command::new("Then, and the registry itself is never asked", pull.clone()));
        }
        if self.ways.proxy {
            commands.push(Command::new("Through the proxy", format!("{} {pull}", self.environment())));
        }
        let hint = self.ways.path.then_some("Skopeo, Buildah and CRI-O read the same file.");
        Client { name: "Podman", needs_ca: self.ways.proxy, commands, hint }
    }

    fn skopeo(&self) -> Client {
        let (image, proxy) = (self.image.as_str(), self.proxy);
        let path = self.image.repository().path();
        let target = format!("oci:{}", path.rsplit('/').next().unwrap_or(path));
        let mut commands = Vec::new();
        if self.ways.path {
            let from = word(&format!("docker://{proxy}/{image}"));
            let copy = format!("skopeo copy --src-tls-verify=false {from} {target}");
            commands.push(Command::new("From the mirror's own site, which is plain http", copy));
        }
        if self.ways.proxy {
            let from = word(&format!("docker://{image}"));
            let copy = format!("{} skopeo copy {from} {target}", self.environment());
            commands.push(Command::new("Through the proxy", copy));
        }
        let hint = "With `--all` it copies every platform, and fails unless all of them are here.";
        Client { name: "Skopeo", needs_ca: self.ways.proxy, commands, hint: Some(hint) }
    }

    fn containerd(&self) -> Client {
        let proxy = self.proxy;
        // A port is written between underscores there.
        let directory = match self.image.repository().registry().as_str().rsplit_once(':') {
            Some((host, port)) => format!("{host}_{port}_"),
            None => self.image.repository().registry().to_string(),
        };
        let file = format!("/etc/containerd/certs.d/{directory}/hosts.toml");
        let hosts = format!("server = \"http://{proxy}\"\n\n[host.\"http://{proxy}\"]\n  capabilities = [\"pull\"]");
        let pull = format!("sudo ctr images pull --hosts-dir /etc/containerd/certs.d {}", word(self.image.as_str()));
        let commands = vec![
            Command::new(format!("Once, in {file}"), hosts),
            Command::new("Then, and the registry itself is never asked", pull),
        ];
        let hint = "Kubernetes and nerdctl read the same folder: for Kubernetes, `config_path` in the part `registry` of containerd's \
                    configuration must name it.";
        Client { name: "containerd", needs_ca: false, commands, hint: Some(hint) }
    }

    fn docker(&self) -> Client {
        let proxy = self.proxy;
        let daemon = format!(
            "{{\n  \"proxies\": {{\n    \"http-proxy\": \"http://{proxy}\",\n    \"https-proxy\": \"http://{proxy}\"\n  }}\n}}"
        );
        let trust = "sudo install -m 644 distmirror-ca.pem /usr/local/share/ca-certificates/distmirror.crt\n\
                     sudo update-ca-certificates\n\
                     sudo systemctl restart docker";
        let commands = vec![
            Command::new("Once, in /etc/docker/daemon.json", daemon),
            Command::new("Once, on Debian or Ubuntu", trust),
            Command::new("Then", format!("docker pull {}", word(self.image.as_str()))),
        ];
        let commands = if self.ways.proxy { commands } else { Vec::new() };
        let hint = "`proxies` in that file needs Docker 23 or later.";
        Client { name: "Docker", needs_ca: true, commands, hint: Some(hint) }
    }

    fn curl(&self, media_type: Option<&str>) -> Client {
        let (repository, digest) = (self.image.repository(), self.image.digest());
        let address = quoted(&format!("http://{}/v2/{repository}/manifests/{digest}", self.proxy));
        let accept = media_type.map(|media_type| quoted(&format!("Accept: {media_type}")));
        let accept = accept.map(|accept| format!("-H {accept} ")).unwrap_or_default();
        let line = format!("curl -f -o manifest.json {accept}{address}");
        let hint = "Configurations and layers are at `/blobs/` in place of `/manifests/`.";
        Client { name: "curl", needs_ca: false, commands: vec![Command::new("The manifest", line)], hint: Some(hint) }
    }

    /// What programs written in Go are told in the environment.
    fn environment(&self) -> String {
        format!("HTTPS_PROXY=http://{} SSL_CERT_FILE=distmirror-ca.pem", self.proxy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is to be pasted, with the label before it.
    fn lines(reference: &str) -> Vec<(&'static str, String)> {
        let image = ImageName::parse(&format!("{reference}@sha256:{}", "0".repeat(64))).unwrap();
        let clients = clients(&image, Some("application/vnd.oci.image.index.v1+json"), "mirror.test:3128");
        let lines = clients.into_iter().flat_map(|client| {
            let text = |Command { label, line }| format!("{label}: {line}").replace(&"0".repeat(64), "HEX");
            client.commands.into_iter().map(move |command| (client.name, text(command)))
        });
        lines.collect()
    }

    #[test]
    fn every_client_is_told_its_way() {
        let lines = lines("quay.io/team/tool");
        for line in [
            ": podman pull quay.io/team/tool@sha256:HEX",
            ": HTTPS_PROXY=http://mirror.test:3128 SSL_CERT_FILE=distmirror-ca.pem podman pull quay.io/team/tool@sha256:HEX",
            ": skopeo copy --src-tls-verify=false docker://mirror.test:3128/quay.io/team/tool@sha256:HEX oci:tool",
            ": HTTPS_PROXY=http://mirror.test:3128 SSL_CERT_FILE=distmirror-ca.pem skopeo copy docker://quay.io/team/tool@sha256:HEX oci:tool",
            ": sudo ctr images pull --hosts-dir /etc/containerd/certs.d quay.io/team/tool@sha256:HEX",
            ": docker pull quay.io/team/tool@sha256:HEX",
            ": curl -f -o manifest.json -H 'Accept: application/vnd.oci.image.index.v1+json' \
             'http://mirror.test:3128/v2/quay.io/team/tool/manifests/sha256:HEX'",
        ] {
            assert!(lines.iter().any(|(_, known)| known.ends_with(line)), "no {line} in {lines:#?}");
        }
        let of = |name: &str| lines.iter().find(|(client, _)| *client == name).unwrap().1.as_str();
        assert!(of("Podman").contains("location = \"mirror.test:3128/quay.io\"\ninsecure = true"), "{lines:#?}");
        assert!(of("containerd").contains("/etc/containerd/certs.d/quay.io/hosts.toml"), "{lines:#?}");
        let daemon: serde_json::Value = serde_json::from_str(of("Docker").split_once(": ").unwrap().1).unwrap();
        assert_eq!(daemon["proxies"]["https-proxy"], "http://mirror.test:3128");
    }

    #[test]
    fn nobody_is_told_a_way_that_does_not_work() {
        let clients = |reference: &str| {
            let mut names: Vec<_> = lines(reference).into_iter().map(|(name, _)| name).collect();
            names.dedup();
            names.join(" ")
        };
        assert_eq!(clients("localhost/tool"), "Podman Skopeo containerd curl");
        assert_eq!(clients("127.0.0.1:5000/tool"), "containerd curl");
        assert_eq!(clients("h.test:5000/tool"), "Podman Skopeo containerd Docker curl");
        let with_port = lines("h.test:5000/tool");
        assert!(!with_port.iter().any(|(_, line)| line.contains("3128/h.test:5000")));
        assert!(with_port.iter().any(|(_, line)| line.contains("/h.test_5000_/hosts.toml: server")), "{with_port:#?}");
        assert!(!lines("localhost/tool").iter().any(|(_, line)| line.contains("HTTPS_PROXY")));
    }
}
