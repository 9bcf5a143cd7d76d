//! The other ways into the proxy: inside TLS, and redirected to here without the client's knowledge.

use std::{
    fs,
    process::{Command, Stdio},
    time::Duration,
};

use reqwest::Method;
use testkit::{CurlOutput, Upstream, curl, free_port};

use crate::support::{Backends, Reach, Server};

/// A server with every entrance, and one present file, `/file`, under `http` and `https`.
struct Stage {
    server: Server,
    upstream: Upstream,
    body: Vec<u8>,
    by_tls: u16,
    http: u16,
    https: u16,
}

impl Stage {
    async fn set() -> Self {
        Self::set_with("").await
    }

    /// With more lines in `[proxy]`.
    async fn set_with(lines: &str) -> Self {
        let upstream = Upstream::start(&["files.test"]).await;
        let body: Vec<u8> = (0..200_000_u32).map(|at| (at % 251) as u8).collect();
        upstream.file("/file", body.clone());
        let (by_tls, http, https) = (free_port(), free_port(), free_port());
        let reach = Reach::from(&upstream).reaching(http).with_proxy(&format!(
            "listen_tls = [\"127.0.0.1:{by_tls}\"]\n\
             transparent_http = [\"127.0.0.1:{http}\"]\n\
             transparent_https = [\"127.0.0.1:{https}\"]\n{lines}"
        ));
        let server = Server::start(Backends::embedded, reach).await;
        for uri in [upstream.url("/file"), upstream.https_url("/file")] {
            let declared = server.declare(&uri, None).await;
            server.wait_for(&declared, "present").await;
        }
        Self { server, upstream, body, by_tls, http, https }
    }

    /// Real curl without a proxy that it knows of, trusting the server's CA.
    async fn curl(&self, arguments: &[&str]) -> CurlOutput {
        let ca = self.server.ca_pem_path().await.display().to_string();
        curl(&[&["--cacert", &ca, "--proxy-cacert", &ca], arguments].concat()).await
    }

    /// Real curl, whose connections all arrive at this port, whatever they are for.
    async fn redirected(&self, port: u16, arguments: &[&str]) -> CurlOutput {
        self.curl(&[&["--connect-to", &format!("::127.0.0.1:{port}")], arguments].concat()).await
    }

    /// The count of a miss, once there is one.
    async fn miss(&self, uri: &str) -> u64 {
        for _ in 0..100 {
            let (_, misses) = self.server.api(Method::GET, "/misses", None).await;
            let items = misses["items"].as_array().cloned().unwrap_or_default();
            if let Some(miss) = items.iter().find(|miss| miss["uri"] == uri) {
                return miss["count"].as_u64().unwrap_or_default();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("no miss of {uri}");
    }
}

/// What OpenSSL says about a handshake with this port.
async fn s_client(port: u16, arguments: &[&str]) -> String {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &format!("127.0.0.1:{port}")]).args(arguments).stdin(Stdio::null());
    let run = tokio::task::spawn_blocking(move || command.output().expect("openssl is installed"));
    let output = run.await.expect("it does not panic");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[tokio::test]
async fn the_proxy_itself_inside_tls() {
    let stage = Stage::set().await;
    for host in ["localhost", "127.0.0.1"] {
        let proxy = format!("https://{host}:{}", stage.by_tls);
        for uri in [stage.upstream.url("/file"), stage.upstream.https_url("/file")] {
            let output = stage.curl(&["--proxy", &proxy, &uri]).await;
            assert_eq!((output.exit, output.status), (0, 200), "{proxy} {uri}: {output:?}");
            assert_eq!(output.body, stage.body);
        }
        for protocol in ["--http1.1", "--http2"] {
            let check = stage.curl(&[protocol, &format!("{proxy}/check")]).await;
            assert_eq!(check.text(), "through the proxy: no\ntrusts the CA:     yes\n", "{protocol} {check:?}");
        }
        let setup = stage.curl(&[&format!("{proxy}/setup/curl")]).await.text();
        assert!(setup.contains(&format!("proxy = \"{proxy}\"")) && setup.contains("proxy-cacert"), "{setup}");
        let through = stage.curl(&["--proxy", &proxy, &format!("http://{host}:{}/check", stage.by_tls)]).await.text();
        assert_eq!(through, "through the proxy: yes\ntrusts the CA:     yes\n");
    }
    let missing = stage.upstream.https_url("/nobody-declared-this");
    let refused = stage.curl(&["--proxy", &format!("https://localhost:{}", stage.by_tls), &missing]).await;
    assert!(refused.status == 404 && refused.text().contains("/declare?uri="), "{refused:?}");
    assert_eq!(stage.miss(&missing).await, 1);
}

#[tokio::test]
async fn as_itself_the_proxy_shows_no_leaf_for_other_names() {
    let stage = Stage::set().await;
    let own = s_client(stage.by_tls, &["-servername", "localhost"]).await;
    assert!(own.contains("CN = localhost"), "{own}");
    let other = s_client(stage.by_tls, &["-servername", "files.test"]).await;
    assert!(other.contains("unrecognized name") && other.contains("no peer certificate"), "{other}");
    let plain = curl(&[&format!("http://127.0.0.1:{}/healthz", stage.by_tls)]).await;
    assert!(plain.status == 400 && plain.text().contains("Only TLS is understood here"), "{plain:?}");
}

#[tokio::test]
async fn redirected_http_is_for_its_host() {
    let stage = Stage::set().await;
    let uri = stage.upstream.url("/file");
    let output = stage.redirected(stage.http, &[&uri]).await;
    assert_eq!((output.status, output.body == stage.body), (200, true), "{output:?}");
    // No page of the mirror's own site, whatever the path.
    for path in ["/healthz", "/ca.pem", "/nothing"] {
        let missing = format!("http://files.test{path}");
        let refused = stage.redirected(stage.http, &[&missing]).await;
        assert!(refused.status == 404 && refused.text().contains("/declare?uri="), "{refused:?}");
        assert_eq!(stage.miss(&missing).await, 1);
    }
    let own = curl(&[&format!("http://127.0.0.1:{}/healthz", stage.http)]).await;
    assert_eq!((own.status, own.text().as_str()), (200, "ok\n"));
    let connect = stage.curl(&["--proxy", &format!("http://127.0.0.1:{}", stage.http), "https://files.test/"]).await;
    assert!(connect.exit != 0 && connect.stderr.contains("405"), "whoever is redirected knows no proxy: {connect:?}");
}

#[tokio::test]
async fn redirected_tls_is_for_port_443_of_its_name() {
    let stage = Stage::set().await;
    // Nothing here can listen on 443, so that the bytes are supplied by hand.
    let declared = stage.server.declare("https://files.test/file", None).await;
    stage.server.wait_for(&declared, "failed").await;
    let (file, sha256) = (stage.server.folder().join("file"), digest(&stage.body));
    fs::write(&file, &stage.body).expect("writes the file");
    let content = format!(
        "{}/api/v1/artifacts/{}/content?sha256={sha256}",
        stage.server.admin_url(),
        declared["id"].as_str().unwrap()
    );
    let supplied = curl(&["--upload-file", &file.display().to_string(), &content]).await;
    assert_eq!(supplied.status, 200, "{supplied:?}");
    for protocol in ["--http1.1", "--http2"] {
        let ask = async |arguments: &[&str]| stage.redirected(stage.https, &[&[protocol], arguments].concat()).await;
        let output = ask(&["https://files.test/file"]).await;
        assert_eq!((output.status, output.body == stage.body), (200, true), "{protocol} {output:?}");
        for other in [&["-H", "Host: other.test", "https://files.test/file"][..], &["https://files.test:8443/file"]] {
            let refused = ask(other).await;
            assert!(refused.status == 421 && refused.text().contains("misdirected"), "{protocol} {refused:?}");
        }
        let missing = ask(&["https://files.test/healthz"]).await;
        assert!(missing.status == 404 && missing.text().contains("/declare?uri="), "{protocol} {missing:?}");
    }
    assert_eq!(stage.miss("https://files.test/healthz").await, 2);
    let nameless = s_client(stage.https, &["-noservername"]).await;
    assert!(nameless.contains("alert number 109") && nameless.contains("no peer certificate"), "{nameless}");
}

#[tokio::test]
async fn the_mirror_never_fetches_from_its_own_entrances() {
    let stage = Stage::set().await;
    let declared = stage.server.declare(&format!("http://127.0.0.1:{}/x", stage.http), None).await;
    let failed = stage.server.wait_for(&declared, "failed").await;
    let error = failed["last_error"].as_str().unwrap_or_default();
    assert!(error.contains("address not allowed") && error.contains("this mirror itself listens"), "{error}");
}

#[tokio::test]
async fn machines_that_are_not_let_in_are_refused_at_every_entrance() {
    // Everything of this machine comes from 127.0.0.1 unless it says otherwise.
    let stage = Stage::set_with("allow_clients = [\"127.0.0.1\"]\n").await;
    let (proxy, other) = (stage.server.proxy_url(), ["--interface", "127.0.0.9"]);
    let uri = stage.upstream.url("/file");
    assert_eq!(stage.curl(&["--proxy", &proxy, &uri]).await.status, 200);
    let site = format!("{proxy}/healthz");
    for asked in [&["--proxy", &proxy, &uri][..], &[&site]] {
        let refused = stage.curl(&[&other, asked].concat()).await;
        assert!(refused.status == 403 && refused.text().contains("127.0.0.9"), "{asked:?} {refused:?}");
        assert!(refused.header("proxy-status").unwrap().contains("client_not_allowed"), "{refused:?}");
    }
    let connect = stage.curl(&[&other[..], &["--proxy", &proxy, &stage.upstream.https_url("/file")]].concat()).await;
    assert!(connect.exit != 0 && connect.stderr.contains("403"), "{connect:?}");
    let redirected = stage.redirected(stage.http, &[&other[..], &[&uri]].concat()).await;
    assert_eq!(redirected.status, 403, "{redirected:?}");
    for port in [stage.by_tls, stage.https] {
        let alert = s_client(port, &["-servername", "localhost", "-bind", "127.0.0.9"]).await;
        assert!(alert.contains("access denied") && alert.contains("no peer certificate"), "{alert}");
    }
}

fn digest(bytes: &[u8]) -> String {
    distmirror_core::Sha256::of(bytes).hex()
}
