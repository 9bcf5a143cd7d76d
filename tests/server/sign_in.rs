//! Signing in at the proxy: everybody who wants an artifact must, by every way to one.

use std::fs;

use reqwest::Method;
use tempfile::TempDir;
use testkit::{CurlOutput, Upstream, curl, free_port};

use crate::support::{Backends, Reach, Server};

/// A server with two users and one present file, `/file`, under `http` and `https`; it logs all it can.
struct Stage {
    server: Server,
    upstream: Upstream,
    by_tls: String,
    _folder: TempDir,
}

impl Stage {
    async fn set() -> Self {
        let upstream = Upstream::start(&["files.test"]).await;
        upstream.file("/file", "the file");
        let (folder, port) = (TempDir::new().expect("a temporary folder"), free_port());
        let file = folder.path().join("password");
        fs::write(&file, format!("{}\n", CI.1)).expect("writes the password");
        let hash = distmirror_core::Sha256::of(NIGHTLY.1.as_bytes());
        let reach = Reach::from(&upstream).with_proxy(&format!(
            "listen_tls = [\"127.0.0.1:{port}\"]\n\
             [[proxy.users]]\nname = {:?}\npassword_file = {file:?}\nproject = \"firmware\"\n\
             [[proxy.users]]\nname = {:?}\npassword_sha256 = \"{hash}\"\n\
             [log]\nlevel = \"trace\"\n",
            CI.0, NIGHTLY.0
        ));
        let server = Server::start(Backends::embedded, reach).await;
        for uri in [upstream.url("/file"), upstream.https_url("/file")] {
            let declared = server.declare(&uri, None).await;
            server.wait_for(&declared, "present").await;
        }
        Self { server, upstream, by_tls: format!("https://127.0.0.1:{port}"), _folder: folder }
    }

    /// Asks through the proxy, perhaps as somebody.
    async fn ask(&self, proxy: &str, user: Option<(&str, &str)>, uri: &str) -> CurlOutput {
        let ca = self.server.ca_pem_path().await.display().to_string();
        let mut arguments = vec!["--proxy", proxy, "--noproxy", "", "--cacert", &ca, "--proxy-cacert", &ca, uri];
        let credentials = user.map(|(name, password)| format!("{name}:{password}"));
        if let Some(credentials) = &credentials {
            arguments.extend(["--proxy-user", credentials]);
        }
        curl(&arguments).await
    }
}

#[tokio::test]
async fn the_proxy_wants_a_name_and_a_password_on_both_faces() {
    let stage = Stage::set().await;
    let (plain, secure) = (stage.upstream.url("/file"), stage.upstream.https_url("/file"));
    for proxy in [stage.server.proxy_url(), stage.by_tls.clone()] {
        for uri in [&plain, &secure] {
            for user in [CI, NIGHTLY] {
                let served = stage.ask(&proxy, Some(user), uri).await;
                assert_eq!((served.exit, served.text().as_str()), (0, "the file"), "{proxy} {user:?} {served:?}");
            }
        }
        for (user, why) in [
            (None, "wants a name and a password"),
            (Some((CI.0, NIGHTLY.1)), "is wrong"),
            (Some(("x", "")), "is wrong"),
        ] {
            let refused = stage.ask(&proxy, user, &plain).await;
            assert!(refused.status == 407 && refused.text().contains(why), "{user:?} {refused:?}");
            let challenge = refused.header("proxy-authenticate").unwrap_or_default();
            assert!(challenge.starts_with("Basic realm="), "{refused:?}");
            let refused = stage.ask(&proxy, user, &secure).await;
            assert!(refused.exit != 0 && refused.stderr.contains("407"), "{user:?} {refused:?}");
        }
    }
}

#[tokio::test]
async fn the_site_wants_it_for_artifacts_and_not_for_the_way_in() {
    let stage = Stage::set().await;
    let (site, credentials) = (stage.server.proxy_url(), format!("{}:{}", CI.0, CI.1));
    let artifact = format!("{site}/{}", stage.upstream.url("/file").trim_start_matches("http://"));
    let signed_in = curl(&["--user", &credentials, &artifact]).await;
    assert_eq!((signed_in.status, signed_in.text().as_str()), (200, "the file"), "{signed_in:?}");
    let digest = format!("{site}/sha256/{}", distmirror_core::Sha256::of(b"the file"));
    for asked in [&artifact, &digest, &format!("{site}/v2/")] {
        let refused = curl(&[asked]).await;
        assert_eq!(refused.status, 401, "{asked} {refused:?}");
        assert!(refused.header("www-authenticate").unwrap().starts_with("Basic realm="), "{refused:?}");
        let wrong = curl(&["--user", "ci:guess", asked]).await;
        assert!(wrong.status == 401 && wrong.text().contains("is wrong"), "{asked} {wrong:?}");
    }
    let registry = curl(&[&format!("{site}/v2/")]).await;
    assert!(registry.text().contains("\"UNAUTHORIZED\""), "{registry:?}");
    for page in ["/ca.pem", "/setup/", "/check", "/healthz", "/readyz", "/metrics"] {
        assert_eq!(curl(&[&format!("{site}{page}")]).await.status, 200, "{page}");
    }
}

#[tokio::test]
async fn a_miss_has_the_users_project_and_nobody_sees_the_password() {
    let stage = Stage::set().await;
    let proxy = stage.server.proxy_url();
    let (plain, secure) = (stage.upstream.url("/missing"), stage.upstream.https_url("/missing"));
    let unknown = stage.upstream.url("/asked-by-nobody");
    for uri in [&plain, &secure] {
        assert_eq!(stage.ask(&proxy, Some(CI), uri).await.status, 404);
    }
    assert_eq!(stage.ask(&proxy, Some(("ci", "hunter3")), &unknown).await.status, 407);
    let mut misses = serde_json::Value::Null;
    for _ in 0..100 {
        misses = stage.server.api(Method::GET, "/misses", None).await.1;
        if misses["items"].as_array().is_some_and(|items| items.len() == 2) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let items = misses["items"].as_array().expect("a list");
    assert!(items.len() == 2 && items.iter().all(|miss| miss["project"] == "firmware"), "{misses}");
    let log = stage.server.log();
    for secret in [CI.1, "hunter3", "Y2k6"] {
        assert!(!log.contains(secret) && !misses.to_string().contains(secret), "{secret} is in the log or in a miss");
    }
}

const CI: (&str, &str) = ("ci", "hunter2 with: a colon");
const NIGHTLY: (&str, &str) = ("nightly", "correct horse");
