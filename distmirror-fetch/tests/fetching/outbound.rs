//! A proxy on the way out: a real one, in plain HTTP and through tunnels, with and without a password.

use distmirror_fetch::{FetchOptions, OutboundProxy};
use testkit::{Answer, ForwardProxy, Upstream, forward_proxy};

use crate::support::{Hostile, Place, job, options, send};

fn through(proxy: &ForwardProxy, allow_addresses: &[&str]) -> FetchOptions {
    through_with(proxy, None, &[], allow_addresses)
}

fn through_with(
    proxy: &ForwardProxy,
    credentials: Option<(&str, &str)>,
    except: &[&str],
    allow_addresses: &[&str],
) -> FetchOptions {
    let proxy = OutboundProxy {
        authority: distmirror_core::Authority::parse(&proxy.authority(), 80).unwrap(),
        credentials: credentials.map(|(user, password)| (user.to_owned(), password.to_owned())),
        except: except.iter().map(|domain| (*domain).to_owned()).collect(),
    };
    FetchOptions { proxy: Some(proxy), ..options(allow_addresses) }
}

#[tokio::test]
async fn everything_goes_through_it_and_a_tunnel_keeps_its_secrets() {
    let (proxy, upstream) = (forward_proxy(None).await, Upstream::start(&[]).await);
    upstream.file("/a.tar", "bytes");
    upstream.on("/moved", |_| Answer::new(302).header("location", "/a.tar"));
    let mut options = through(&proxy, &["127.0.0.1/32"]);
    options.trusted_roots.push(std::fs::read_to_string(upstream.ca_pem_path()).unwrap());
    let place = Place::with(&options);
    for uri in [upstream.url("/moved"), upstream.https_url("/moved?secret=hunter2")] {
        let fetched = place.fetch(&job(&uri)).await.unwrap();
        assert_eq!(fetched.content.size, 5, "{uri}");
        assert_eq!(fetched.content.source.redirects.len(), 1);
        assert_eq!(fetched.content.source.peer_certificate_sha256.is_some(), uri.starts_with("https"));
    }
    let requests = proxy.requests();
    let tunnel = format!("CONNECT 127.0.0.1:{} HTTP/1.1", upstream.https_port());
    assert!(requests.contains(&format!("GET {} HTTP/1.1", upstream.url("/moved"))), "{requests:?}");
    assert!(requests.contains(&tunnel) && !requests.concat().contains("hunter2"), "{requests:?}");
    assert!(upstream.requests("/a.tar").iter().any(|seen| seen.headers().contains_key("via")));
}

#[tokio::test]
async fn the_password_is_shown_to_the_proxy_and_not_to_upstream() {
    let (proxy, upstream) = (forward_proxy(Some(("me", "hunter2"))).await, Upstream::start(&[]).await);
    upstream.file("/a.tar", "bytes");
    let root = std::fs::read_to_string(upstream.ca_pem_path()).unwrap();
    let place = |credentials| {
        let options = through_with(&proxy, credentials, &[], &["127.0.0.1/32"]);
        Place::with(&FetchOptions { trusted_roots: vec![root.clone()], ..options })
    };
    let uris = [upstream.url("/a.tar"), upstream.https_url("/a.tar")];
    for (credentials, words) in [(None, "407"), (Some(("me", "wrong")), "40")] {
        for uri in &uris {
            let failure = place(credentials).failure(uri).await;
            assert!(failure.contains(words) && !failure.contains("wrong"), "{failure}");
        }
    }
    assert!(upstream.requests("/a.tar").is_empty());
    for uri in &uris {
        assert_eq!(place(Some(("me", "hunter2"))).fetch(&job(uri)).await.unwrap().content.size, 5);
    }
    for seen in upstream.requests("/a.tar") {
        assert!(!seen.headers().contains_key("proxy-authorization"), "{seen:?}");
    }
}

#[tokio::test]
async fn what_only_a_local_network_has_is_not_asked_for_through_it() {
    let (proxy, inside) = (forward_proxy(None).await, Hostile::start(|_| send("200 OK", &[], b"inside")).await);
    let place = Place::with(&through(&proxy, &[]));
    let port = inside.address.port();
    for host in [
        "127.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "169.254.169.254",
        "10.1.2.3",
        "localhost",
        "metadata",
        "db.local",
        "metadata.google.internal",
        "x.localhost",
        "router.lan",
        "nas.home.arpa",
    ] {
        for uri in [format!("http://{host}:{port}/secret"), format!("https://{host}:{port}/secret")] {
            let failure = place.failure(&uri).await;
            assert!(failure.contains("address not allowed"), "{uri}: {failure}");
        }
    }
    assert_eq!(proxy.requests(), Vec::<String>::new(), "it was asked");
    assert!(inside.requests("/secret").is_empty());
}

#[tokio::test]
async fn exceptions_are_reached_directly_and_guarded_as_ever() {
    let (proxy, upstream) = (forward_proxy(None).await, Hostile::start(|_| send("200 OK", &[], b"inside")).await);
    let uri = upstream.url("/a");
    let guarded = Place::with(&through_with(&proxy, None, &["127.0.0.1", "localhost"], &[]));
    for uri in [&uri, &uri.replace("127.0.0.1", "localhost")] {
        assert!(guarded.failure(uri).await.contains("not public; see fetch.allow_addresses"));
    }
    let allowed = Place::with(&through_with(&proxy, None, &["127.0.0.1"], &["127.0.0.1/32"]));
    assert_eq!(allowed.fetch(&job(&uri)).await.unwrap().content.size, 6);
    assert_eq!(proxy.requests(), Vec::<String>::new());
}

#[tokio::test]
async fn a_proxy_that_is_not_there_or_is_none_is_named() {
    let proxy = forward_proxy(None).await;
    let gone = through(&proxy, &[]);
    let authority = proxy.authority();
    drop(proxy);
    let failure = Place::with(&gone).failure("https://files.example.org/a").await;
    assert!(failure.contains(&authority) && failure.contains("cannot connect"), "{failure}");

    let server = Hostile::start(|_| send("501 Not Implemented", &[], b"")).await;
    let mut options = gone.clone();
    let authority = server.address.to_string();
    options.proxy.as_mut().unwrap().authority = distmirror_core::Authority::parse(&authority, 80).unwrap();
    let failure = Place::with(&options).failure("https://files.example.org/a").await;
    assert!(failure.contains(&format!("the proxy `{authority}` opens no way to `files.example.org:443`")), "{failure}");
    assert!(failure.contains("501"), "{failure}");
}
