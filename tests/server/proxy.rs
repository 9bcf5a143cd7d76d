//! The proxy port from outside, byte by byte where clients are too polite: framing, identities, tunnels.

use std::time::Duration;

use testkit::Upstream;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{Backends, Server};

/// A server with one present file, `/file`, under `http` and `https`.
struct Stage {
    server: Server,
    upstream: Upstream,
    body: Vec<u8>,
}

impl Stage {
    async fn set() -> Self {
        let upstream = Upstream::start(&["files.test"]).await;
        let body: Vec<u8> = (0..200_000_u32).map(|at| (at % 251) as u8).collect();
        upstream.file("/file", body.clone());
        let server = Server::start(Backends::embedded, &upstream).await;
        for uri in [upstream.url("/file"), upstream.https_url("/file")] {
            let declared = server.declare(&uri, None).await;
            server.wait_for(&declared, "present").await;
        }
        Self { server, upstream, body }
    }

    async fn dial(&self) -> TcpStream {
        let address = self.server.proxy_url().trim_start_matches("http://").to_owned();
        TcpStream::connect(address).await.expect("the proxy accepts")
    }

    /// Sends these bytes on a connection of their own; everything that comes back until it closes, or for two seconds.
    async fn send(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.dial().await;
        stream.write_all(bytes).await.expect("the proxy reads");
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(2), stream.read_to_end(&mut answer)).await;
        answer
    }

    /// The first line and fields of the answer, as text.
    async fn head(&self, request: &str) -> String {
        let answer = self.send(request.as_bytes()).await;
        let text = String::from_utf8_lossy(&answer).into_owned();
        text.split("\r\n\r\n").next().unwrap_or_default().to_owned()
    }

    fn http_authority(&self) -> String {
        format!("127.0.0.1:{}", self.upstream.http_port())
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let stage = Stage::set().await;
    let (uri, host) = (stage.upstream.url("/file"), stage.http_authority());
    let ask = |range: &str| format!("GET {uri} HTTP/1.1\r\nHost: {host}\r\nRange: bytes={range}\r\n\r\n");
    let all: String = (0..50).map(|at| ask(&format!("{at}-{at}"))).collect();
    let answer = stage.send(all.as_bytes()).await;
    let bodies: Vec<u8> = answer.split(|byte| *byte == b'\n').collect::<Vec<_>>().concat();
    let text = String::from_utf8_lossy(&bodies);
    assert_eq!(text.matches("206 Partial Content").count(), 50);
    let order: Vec<usize> =
        (0..50).map(|at| text.find(&format!("bytes {at}-{at}/200000")).expect("each is answered")).collect();
    assert!(order.is_sorted(), "{order:?}");
}

#[tokio::test]
async fn a_body_that_nobody_needs_does_not_end_the_connection() {
    let stage = Stage::set().await;
    let (uri, host) = (stage.upstream.url("/file"), stage.http_authority());
    let head = |extra: &str| format!("GET {uri} HTTP/1.1\r\nHost: {host}\r\nRange: bytes=0-6\r\n{extra}\r\n");
    for (extra, body) in
        [("Content-Length: 5\r\n", "hello"), ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n")]
    {
        let mut stream = stage.dial().await;
        for part in [head(extra).as_str(), &body[..2], &body[2..], &head("Connection: close\r\n")] {
            stream.write_all(part.as_bytes()).await.expect("the connection stands");
            stream.flush().await.expect("the connection stands");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let mut answers = Vec::new();
        stream.read_to_end(&mut answers).await.expect("both answers come");
        assert_eq!(String::from_utf8_lossy(&answers).matches("206 Partial Content").count(), 2, "{extra}");
    }
    // What is announced and does not come keeps nobody from an answer.
    for extra in
        ["Content-Length: 5\r\n", "Content-Length: 5000000\r\n", "Expect: 100-continue\r\nContent-Length: 5\r\n"]
    {
        let mut stream = stage.dial().await;
        stream.write_all(head(extra).as_bytes()).await.expect("the connection stands");
        let mut start = [0; 12];
        stream.read_exact(&mut start).await.expect("an answer");
        assert_eq!(&start, b"HTTP/1.1 206", "{extra}");
    }
}

#[tokio::test]
async fn malformed_requests_are_refused_and_hurt_nobody() {
    let stage = Stage::set().await;
    let (uri, host) = (stage.upstream.url("/file"), stage.http_authority());
    for (request, status) in [
        (format!("GET {uri} HTTP/1.1\r\n\r\n"), "400"),
        (format!("GET {uri} HTTP/1.1\r\nHost: {host}\r\nHost: {host}\r\n\r\n"), "400"),
        (format!("GET  {uri} HTTP/1.1\r\nHost: {host}\r\n\r\n"), "400"),
        (format!("GET http://u:p@{host}/file HTTP/1.1\r\nHost: {host}\r\n\r\n"), "400"),
        (format!("GET http://{host}/%zz HTTP/1.1\r\nHost: {host}\r\n\r\n"), "400"),
        (format!("GET {uri} HTTP/1.1\r\nHost: {host}\r\nBad Name: x\r\n\r\n"), "400"),
        (format!("GET {uri} HTTP/1.1\r\nHost: {host}\r\nX: {}\r\n\r\n", "y".repeat(70_000)), "431"),
        (format!("GET /{} HTTP/1.1\r\nHost: {host}\r\n\r\n", "y".repeat(100_000)), "431"),
        (format!("GET /{} HTTP/1.1\r\nHost: {host}\r\n\r\n", "y".repeat(10_000)), "414"),
        ("CONNECT files.test HTTP/1.1\r\nHost: files.test\r\n\r\n".to_owned(), "400"),
        ("CONNECT files.test:0 HTTP/1.1\r\nHost: files.test\r\n\r\n".to_owned(), "400"),
        ("CONNECT u@files.test:443 HTTP/1.1\r\nHost: files.test\r\n\r\n".to_owned(), "400"),
        ("TRACE / HTTP/1.1\r\nHost: h\r\nCookie: secret\r\n\r\n".to_owned(), "405"),
    ] {
        let head = stage.head(&request).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{:.80}: {head}", request);
        assert!(!head.contains("secret"));
    }
    assert_eq!(stage.server.curl(&[&uri]).await.body, stage.body);
}

#[tokio::test]
async fn an_absolute_uri_wins_over_host() {
    let stage = Stage::set().await;
    let head = stage.head(&format!("GET {} HTTP/1.1\r\nHost: other.test\r\n\r\n", stage.upstream.url("/file"))).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let head =
        stage.head(&format!("GET http://other.test/file HTTP/1.1\r\nHost: {}\r\n\r\n", stage.http_authority())).await;
    assert!(head.starts_with("HTTP/1.1 404") && head.contains("undeclared"), "{head}");
}

#[tokio::test]
async fn the_mirrors_own_pages_and_proxied_names_do_not_meet() {
    let stage = Stage::set().await;
    let site = stage.head("GET /healthz HTTP/1.1\r\nHost: files.test\r\n\r\n").await;
    assert!(site.starts_with("HTTP/1.1 200"), "{site}");
    let proxied = stage.head("GET http://files.test/healthz HTTP/1.1\r\nHost: files.test\r\n\r\n").await;
    assert!(proxied.starts_with("HTTP/1.1 404") && proxied.contains("undeclared"), "{proxied}");
    let host = format!("127.0.0.1:{}", stage.upstream.https_port());
    let prefix = stage.head(&format!("GET /https/{host}/file HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")).await;
    assert!(prefix.starts_with("HTTP/1.1 200"), "{prefix}");
}

#[tokio::test]
async fn inside_a_tunnel_only_its_own_host_is_served() {
    let stage = Stage::set().await;
    let (uri, port) = (stage.upstream.https_url("/file"), stage.upstream.https_port());
    for (arguments, status) in [
        (vec!["--http1.1"], 200),
        (vec!["--http2"], 200),
        (vec!["--http1.1", "-H", "Host: files.test"], 421),
        (vec!["--http2", "-H", "Host: files.test"], 421),
        (vec!["--tls-max", "1.2"], 200),
    ] {
        let output = stage.server.curl(&[&arguments[..], &[&uri]].concat()).await;
        assert_eq!(output.status, status, "{arguments:?}: {output:?}");
    }
    let sni = format!("https://files.test:{port}/file");
    let connect = format!("files.test:{port}:127.0.0.1:{port}");
    let output = stage.server.curl(&["--connect-to", &connect, &sni]).await;
    assert_ne!(output.exit, 0, "a leaf is for the CONNECT authority, whatever SNI says: {output:?}");
    let output = stage.server.curl(&["--insecure", "--connect-to", &connect, &sni]).await;
    assert_eq!(output.status, 421, "{output:?}");
}

#[tokio::test]
async fn the_answer_to_head_has_no_body_whatever_it_says_and_by_any_protocol() {
    let stage = Stage::set().await;
    let check = format!("{}/check", stage.server.proxy_url().replace("http://", "https://"));
    for protocol in ["--http1.1", "--http2"] {
        for (uri, status) in
            [(stage.upstream.https_url("/file"), 200), (stage.upstream.https_url("/no"), 404), (check.clone(), 200)]
        {
            let (got, head) =
                (stage.server.curl(&[protocol, &uri]).await, stage.server.curl(&[protocol, "--head", &uri]).await);
            assert_eq!((head.exit, head.status), (0, status), "{protocol} {uri}: {head:?}");
            assert_eq!(head.header("content-length"), got.header("content-length"), "{protocol} {uri}");
        }
    }
}

#[tokio::test]
async fn what_follows_connect_in_one_segment_is_not_lost_and_plain_text_is_told() {
    let stage = Stage::set().await;
    let answer = stage.send(b"CONNECT files.test:443 HTTP/1.1\r\nHost: files.test:443\r\n\r\nGET / HTTP/1.1\r\nHost: files.test\r\n\r\n").await;
    let text = String::from_utf8_lossy(&answer);
    assert!(
        text.starts_with("HTTP/1.1 200") && text.contains("HTTP/1.1 400") && text.contains("Only TLS is understood"),
        "{text}"
    );
}

#[tokio::test]
async fn misses_are_one_row_each_however_often_they_are_asked_for() {
    let stage = Stage::set().await;
    let missing = stage.upstream.url("/nobody-declared-this");
    for _ in 0..5 {
        assert_eq!(stage.server.curl(&["-A", "test-agent/1", &missing]).await.status, 404);
    }
    let mut seen = serde_json::Value::Null;
    for _ in 0..100 {
        let (_, misses) = stage.server.api(reqwest::Method::GET, "/misses", None).await;
        seen = misses["items"][0].clone();
        if seen["count"] == 5 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(
        (&seen["uri"], &seen["count"], &seen["user_agent"]),
        (&missing.clone().into(), &5.into(), &"test-agent/1".into()),
        "{seen}"
    );
    assert_eq!(stage.upstream.hits("/nobody-declared-this"), 0, "nothing is fetched because it was asked for");
}

#[tokio::test]
async fn what_is_withheld_says_why_and_links_to_its_page() {
    let stage = Stage::set().await;
    let (server, uri) = (&stage.server, stage.upstream.url("/file"));
    let (_, artifact) = server.api(reqwest::Method::GET, &format!("/artifacts/lookup?uri={uri}"), None).await;
    let (id, sha256) = (artifact["id"].as_str().unwrap(), artifact["sha256"].as_str().unwrap());
    let secure = stage.upstream.https_url("/file");
    let (_, twin) = server.api(reqwest::Method::GET, &format!("/artifacts/lookup?uri={secure}"), None).await;
    for artifact in [id, twin["id"].as_str().unwrap()] {
        let reason = serde_json::json!({"reason": "a backdoor in it"});
        let (status, _) =
            server.api(reqwest::Method::POST, &format!("/artifacts/{artifact}/quarantine"), Some(reason)).await;
        assert_eq!(status, 200);
    }
    let by_digest = format!("{}/sha256/{sha256}", server.proxy_url());
    for asked in [&uri, &by_digest] {
        let refused = if asked == &uri { server.curl(&[asked]).await } else { testkit::curl(&[asked]).await };
        let (text, page) = (refused.text(), format!("{}/artifacts/", server.admin_url()));
        assert_eq!(refused.status, 403, "{asked}: {text}");
        assert!(text.contains("a backdoor in it") && text.contains(&page), "{text}");
    }
    let failing = server.declare(&stage.upstream.url("/absent"), None).await;
    server.wait_for(&failing, "failed").await;
    let refused = server.curl(&[&stage.upstream.url("/absent")]).await;
    let page = format!("{}/artifacts/{}", server.admin_url(), failing["id"].as_str().unwrap());
    assert!(refused.status == 502 && refused.text().contains(&page) && refused.text().contains("404"), "{refused:?}");
    let unknown = testkit::curl(&[&format!("{}/sha256/{}", server.proxy_url(), "0".repeat(64))]).await;
    assert!(unknown.status == 404 && !unknown.text().contains("declare?uri"), "{unknown:?}");
}

#[tokio::test]
async fn a_client_can_check_how_it_reaches_the_mirror_and_set_itself_up() {
    let stage = Stage::set().await;
    let proxy = stage.server.proxy_url();
    let direct = testkit::curl(&[&format!("{proxy}/check")]).await.text();
    assert!(direct.contains("through the proxy: no"), "{direct}");
    let secure = format!("{}/check", proxy.replace("http://", "https://"));
    let tunnelled = stage.server.curl(&[&secure]).await.text();
    assert!(tunnelled.contains("through the proxy: yes\ntrusts the CA:     yes"), "{tunnelled}");
    let tools = testkit::curl(&[&format!("{proxy}/setup/")]).await.text();
    for tool in ["env", "curl", "wget", "debian", "java"] {
        assert!(tools.contains(&format!("{proxy}/setup/{tool}")), "{tools}");
        let text = testkit::curl(&[&format!("{proxy}/setup/{tool}")]).await.text();
        assert!(text.contains(&proxy) && !text.contains('{'), "{text}");
    }
    assert_eq!(testkit::curl(&[&format!("{proxy}/setup/abacus")]).await.status, 404);
}
