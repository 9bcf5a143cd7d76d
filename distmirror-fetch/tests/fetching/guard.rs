//! Addresses that must not be reached, tried through the real client: nobody may so much as connect.

use std::time::Duration;

use crate::support::{Hostile, Place, job, options, send};
use distmirror_fetch::{Error, FetchOptions, UpstreamClient};
use testkit::{Answer, Upstream};

#[tokio::test]
async fn by_default_loopback_is_refused_in_every_spelling() {
    let upstream = Hostile::start(|_| send("200 OK", &[], b"inside")).await;
    let port = upstream.address.port();
    let place = Place::with(&options(&[]));
    for host in ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "0.0.0.0", "127.9.9.9"] {
        let failure = place.failure(&format!("http://{host}:{port}/secret")).await;
        assert!(failure.contains("address not allowed"), "{host}: {failure}");
        assert!(failure.contains("not public; see fetch.allow_addresses"), "{host}: {failure}");
    }
    assert!(upstream.requests("/secret").is_empty());
}

#[tokio::test]
async fn exactly_the_network_and_port_that_are_allowed_can_be_reached() {
    let upstream = Hostile::start(|_| send("200 OK", &[], b"inside")).await;
    let other = Hostile::start(|_| send("200 OK", &[], b"inside")).await;
    let place = Place::with(&options(&[&format!("127.0.0.0/8:{}", upstream.address.port())]));
    assert!(place.fetch(&job(&upstream.url("/a"))).await.is_ok());
    assert!(place.failure(&other.url("/a")).await.contains("address not allowed"));
    assert!(other.requests("/a").is_empty());
}

#[tokio::test]
async fn a_redirect_leads_nowhere_that_a_declaration_does_not() {
    const HOSTS: [(&str, &str); 6] = [
        ("127.0.0.1", "address not allowed"),
        ("localhost", "address not allowed"),
        ("[::1]", "address not allowed"),
        ("169.254.169.254", "address not allowed"),
        ("2130706433", "abbreviated address"),
        ("0x7f.1", "abbreviated address"),
    ];
    let inside = Hostile::start(|_| send("200 OK", &[], b"inside")).await;
    let port = inside.address.port();
    let upstream = Hostile::start(move |request| {
        let (host, _) = HOSTS[request.path[1..].parse::<usize>().unwrap()];
        send("302 Found", &[&format!("Location: http://{host}:{port}/secret")], b"")
    })
    .await;
    let place = Place::with(&options(&[&format!("127.0.0.1:{}", upstream.address.port())]));
    for (index, (host, words)) in HOSTS.iter().enumerate() {
        let failure = place.failure(&upstream.url(&format!("/{index}"))).await;
        assert!(failure.contains(words), "{host}: {failure}");
    }
    assert!(inside.requests("/secret").is_empty());
}

#[tokio::test]
async fn the_mirror_does_not_fetch_from_itself() {
    let own = Hostile::start(|_| send("200 OK", &[], b"inside")).await;
    let place = Place::with(&FetchOptions { own_listeners: vec![own.address], ..options(&["127.0.0.0/8"]) });
    assert!(place.failure(&own.url("/a")).await.contains("where this mirror itself listens"));
    assert!(own.requests("/a").is_empty());
}

#[tokio::test]
async fn a_connection_that_is_never_accepted_ends_in_its_limit() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let trap = socket.listen(1).unwrap();
    let address = trap.local_addr().unwrap();
    let fill: Vec<_> = (0..4).map(|_| tokio::spawn(tokio::net::TcpStream::connect(address))).collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let place = Place::with(&FetchOptions { connect_timeout: Duration::from_millis(300), ..options(&["127.0.0.0/8"]) });
    let failure = place.failure(&format!("http://{address}/a")).await;
    assert!(failure.contains("cannot connect to") && failure.contains("timed out after 300ms"), "{failure}");
    drop(fill);
}

#[tokio::test]
async fn what_cannot_be_resolved_or_reached_says_so() {
    let place = Place::new();
    let closed = testkit::free_port();
    let failure = place.failure(&format!("http://127.0.0.1:{closed}/a")).await;
    assert!(failure.contains(&format!("cannot connect to `127.0.0.1:{closed}`")), "{failure}");
    let failure = place.failure("http://no-such-host.invalid/a").await;
    assert!(failure.contains("cannot resolve `no-such-host.invalid`") || failure.contains("timed out"), "{failure}");
}

#[tokio::test]
async fn the_certificate_is_checked_and_recorded() {
    let upstream = Upstream::start(&["files.test"]).await;
    upstream.file("/a", "secure");
    let ca = std::fs::read_to_string(upstream.ca_pem_path()).unwrap();
    let trusting = FetchOptions { trusted_roots: vec![ca], ..options(&["127.0.0.0/8"]) };

    let fetched = Place::with(&trusting).fetch(&job(&upstream.https_url("/a"))).await.unwrap();
    let certificate = fetched.content.source.peer_certificate_sha256.unwrap();
    assert!(certificate.len() == 64 && certificate.bytes().all(|byte| byte.is_ascii_hexdigit()), "{certificate}");

    let failure = Place::new().failure(&upstream.https_url("/a")).await;
    assert!(failure.contains("no secure connection to") && failure.contains("UnknownIssuer"), "{failure}");
    let failure = Place::with(&trusting).failure(&upstream.https_url_as("127.0.0.2", "/a")).await;
    assert!(failure.contains("127.0.0.2"), "{failure}");
    assert_eq!(upstream.hits("/a"), 1);
}

#[tokio::test]
async fn http_2_bodies_that_break_off_are_no_files() {
    let upstream = Upstream::start(&[]).await;
    upstream.on("/breaks", |request| {
        assert_eq!(request.version(), http::Version::HTTP_2);
        Answer::ok("0123456789").break_after(5)
    });
    upstream.on("/short", |_| Answer::ok("0123456789").header("content-length", "11"));
    upstream.on("/no-length", |_| Answer::ok("0123456789").without_length());
    let ca = std::fs::read_to_string(upstream.ca_pem_path()).unwrap();
    let place = Place::with(&FetchOptions { trusted_roots: vec![ca], ..options(&["127.0.0.0/8"]) });
    assert!(place.failure(&upstream.https_url("/breaks")).await.contains("truncated: 5 of 10 bytes"));
    assert!(place.failure(&upstream.https_url("/short")).await.contains("truncated"));
    assert_eq!(place.fetch(&job(&upstream.https_url("/no-length"))).await.unwrap().content.size, 10);
}

#[tokio::test]
async fn https_does_not_lead_to_http() {
    let upstream = Upstream::start(&[]).await;
    let target = upstream.url("/plain");
    upstream.on("/a", move |_| Answer::new(302).header("location", &target));
    let ca = std::fs::read_to_string(upstream.ca_pem_path()).unwrap();
    let place = Place::with(&FetchOptions { trusted_roots: vec![ca], ..options(&["127.0.0.0/8"]) });
    assert!(place.failure(&upstream.https_url("/a")).await.contains("downgrade refused"));
    assert_eq!(upstream.hits("/plain"), 0);
}

#[tokio::test]
async fn options_that_cannot_be_read_are_named() {
    let bad_network = UpstreamClient::new(&options(&["10.0.0.0/8", "ten"])).unwrap_err();
    assert!(matches!(&bad_network, Error::AllowAddresses { text } if text == "ten"), "{bad_network}");
    let bad_root = FetchOptions { trusted_roots: vec!["no certificate".to_owned()], ..options(&[]) };
    let bad_root = UpstreamClient::new(&bad_root).unwrap_err();
    assert!(matches!(&bad_root, Error::TrustedRoots { index: 0, .. }), "{bad_root}");
}
