//! HTTP/1.1 byte by byte (RFC 9110, RFC 9112): what is sent of a file is the slice that was asked for, whatever its size; what the
//! conditions come to; and that no request is read in two ways.

use std::{net::SocketAddr, sync::Arc};

use distmirror_core::{
    Mirror, Sha256,
    memory::{MemoryBlobStore, MemoryCatalog},
};
use distmirror_proxy::{CertificateAuthority, Options, Proxy};
use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::TestRunner,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

#[path = "support/present.rs"]
mod present;
use present::present;

/// Where one piece of what is read at once ends and the next begins, and files with nothing or little in them.
const SIZES: [usize; 9] = [0, 1, 2, 500, 65_535, 65_536, 131_072, 131_073, 300_000];
static BYTES: [u8; 300_000] = {
    let mut bytes = [0; 300_000];
    let mut at = 0;
    while at < bytes.len() {
        bytes[at] = (at % 251) as u8;
        at += 1;
    }
    bytes
};

/// One connection to a proxy that has a file of each size.
struct Wire(BufReader<TcpStream>);

#[derive(Debug)]
struct Answer {
    status: u16,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(own, _)| own == name).map(|(_, value)| value.as_str());
        let value = values.next();
        assert!(values.next().is_none(), "`{name}` is there twice");
        value
    }
}

async fn start() -> SocketAddr {
    let mirror =
        Arc::new(Mirror::new(Arc::new(MemoryCatalog::new()), Arc::new(MemoryBlobStore::new()), Default::default()));
    for size in SIZES {
        present(&mirror, &uri(size), &BYTES[..size]).await;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let authority = CertificateAuthority::load_or_create(&folder.path().join("ca")).expect("a new authority");
    let proxy = Proxy::new(mirror, authority, Options::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move { proxy.serve([listener], std::future::pending()).await });
    address
}

fn uri(size: usize) -> String {
    format!("http://files.test/{size}")
}

fn etag(size: usize) -> String {
    format!("\"{}\"", Sha256::of(&BYTES[..size]))
}

impl Wire {
    async fn dial(address: SocketAddr) -> Self {
        Self(BufReader::new(TcpStream::connect(address).await.expect("the proxy accepts")))
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.expect("the proxy reads");
    }

    /// A request for the file of this size.
    async fn ask(&mut self, method: &str, size: usize, fields: &str) -> Answer {
        let request = format!("{method} {} HTTP/1.1\r\nHost: files.test\r\n{fields}\r\n", uri(size));
        self.send(request.as_bytes()).await;
        self.answer(method).await
    }

    async fn answer(&mut self, method: &str) -> Answer {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.0.read_u8().await.unwrap_or_else(|error| panic!("{}: {error}", head.escape_ascii())));
        }
        let head = String::from_utf8(head).expect("text");
        let mut lines = head.trim_end().lines();
        let status = lines.next().and_then(|line| line.get(9..12)?.parse().ok()).expect("a status line");
        let field = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        let mut answer = Answer { status, fields: lines.filter_map(field).collect(), body: Vec::new() };
        assert_eq!(answer.field("transfer-encoding"), None, "every answer knows how long it is");
        let length = answer.field("content-length").map_or(0, |length| length.parse().expect("a length"));
        if method != "HEAD" && status != 304 {
            answer.body.resize(length, 0);
            self.0.read_exact(&mut answer.body).await.expect("as much as was announced");
        }
        answer
    }

    /// What comes until the proxy closes.
    async fn rest(mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let _ = self.0.read_to_end(&mut rest).await;
        rest
    }
}

/// What a field wants of a file, by asking of each position whether it is wanted: `None` is all.
fn model(first: Option<u64>, last: Option<u64>, size: usize) -> Option<Vec<usize>> {
    if let (Some(first), Some(last)) = (first, last)
        && last < first
    {
        return None;
    }
    let is_wanted = |at: &usize| match (first, last) {
        (Some(first), last) => *at as u64 >= first && last.is_none_or(|last| *at as u64 <= last),
        (None, Some(suffix)) => (size - at) as u64 <= suffix,
        (None, None) => true,
    };
    if first.is_none() && last.is_none() { None } else { Some((0..size).filter(is_wanted).collect()) }
}

/// FS02, FS03, FS04: for every size and field.
#[tokio::test]
async fn fs02_to_fs04_every_answer_is_the_slice() {
    let mut wire = Wire::dial(start().await).await;
    let mut runner = TestRunner::deterministic();
    for size in SIZES {
        let near = proptest::sample::select(vec![0, 1, 2, 499, 500, 65_535, 65_536, 131_071, 131_072, size as u64])
            .prop_flat_map(|middle| middle.saturating_sub(2)..middle + 3);
        let position = proptest::option::weighted(0.8, near);
        for _ in 0..120 {
            let mut next = || position.new_tree(&mut runner).expect("a position").current();
            let (first, last) = (next(), next());
            let text = |position: Option<u64>| position.map_or_else(String::new, |at| at.to_string());
            let field = format!("bytes={}-{}", text(first), text(last));
            let answer = wire.ask("GET", size, &format!("Range: {field}\r\n")).await;
            let context = format!("{field} of {size}: {} {:?}", answer.status, answer.fields);
            match model(first, last, size) {
                None => {
                    assert_eq!((answer.status, answer.field("content-range")), (200, None), "{context}");
                    assert!(answer.body == BYTES[..size], "{context}");
                }
                Some(positions) if positions.is_empty() => {
                    let expected = format!("bytes */{size}");
                    assert_eq!((answer.status, answer.field("content-range")), (416, Some(&*expected)), "{context}");
                }
                Some(positions) => {
                    let (start, end) = (positions[0], positions[positions.len() - 1]);
                    let expected = format!("bytes {start}-{end}/{size}");
                    assert_eq!((answer.status, answer.field("content-range")), (206, Some(&*expected)), "{context}");
                    assert!(answer.body == BYTES[start..=end], "{context}");
                    assert_eq!(answer.field("etag"), Some(&*etag(size)));
                }
            }
        }
    }
}

/// FS01, FS05, FS09
#[tokio::test]
async fn fs01_fs05_fs09_heads_many_ranges_and_encodings() {
    let mut wire = Wire::dial(start().await).await;
    for size in SIZES {
        let got = wire.ask("GET", size, "Accept-Encoding: gzip, zstd, br\r\n").await;
        assert!(got.status == 200 && got.body == BYTES[..size]);
        assert_eq!((got.field("content-encoding"), got.field("x-content-type-options")), (None, Some("nosniff")));
        let head = wire.ask("HEAD", size, "").await;
        let but_date = |answer: &Answer| {
            let fields = answer.fields.iter().filter(|(name, _)| name != "date");
            fields.cloned().collect::<Vec<_>>()
        };
        assert_eq!((head.status, but_date(&head)), (200, but_date(&got)), "the same fields");
    }
    let many: Vec<String> = (0..1000).map(|at| format!("{at}-")).collect();
    for ranges in ["0-1,100-101".to_owned(), many.join(",")] {
        let answer = wire.ask("GET", 300_000, &format!("Range: bytes={ranges}\r\n")).await;
        assert!(answer.status == 200 && answer.body == BYTES, "{}", answer.status);
    }
    // One of several that is no range makes none of them count.
    let answer = wire.ask("GET", 500, "Range: bytes=0-1\r\nRange: bytes=2-3\r\n").await;
    assert!(answer.status == 200 && answer.body == BYTES[..500], "two fields are a list: {}", answer.status);
}

/// FS06, FS07, FS08, in the order of RFC 9110 section 13.2.2: what comes first decides.
#[tokio::test]
async fn fs06_to_fs08_conditions_come_before_ranges() {
    let mut wire = Wire::dial(start().await).await;
    let tag = etag(500);
    for (fields, status) in [
        (format!("If-None-Match: {tag}"), 304),
        (format!("If-None-Match: W/{tag}"), 304),
        (format!("If-None-Match: \"a,b\", {tag}"), 304),
        ("If-None-Match: *".to_owned(), 304),
        ("If-None-Match: \"x\"".to_owned(), 200),
        ("If-Match: \"x\"".to_owned(), 412),
        (format!("If-Match: W/{tag}"), 412),
        (format!("If-Match: {tag}"), 200),
        (format!("If-Match: \"x\"\r\nIf-None-Match: {tag}"), 412),
        (format!("If-Match: {tag}\r\nIf-None-Match: {tag}"), 304),
        (format!("If-None-Match: {tag}\r\nRange: bytes=0-1"), 304),
        (format!("If-None-Match: {tag}\r\nRange: bytes=500-"), 304),
        ("If-Match: \"x\"\r\nRange: bytes=0-1".to_owned(), 412),
        (format!("If-Match: {tag}\r\nRange: bytes=0-1"), 206),
        (format!("If-Range: {tag}\r\nRange: bytes=0-1"), 206),
        (format!("If-Range: W/{tag}\r\nRange: bytes=0-1"), 200),
        ("If-Range: \"x\"\r\nRange: bytes=0-1".to_owned(), 200),
        ("If-Range: \"x\"\r\nRange: bytes=500-".to_owned(), 200),
        (format!("If-Range: {tag}\r\nRange: bytes=500-"), 416),
        // Without a date of what is stored no date can be the same (section 13.1.5).
        ("If-Range: Tue, 03 Mar 2020 10:00:00 GMT\r\nRange: bytes=0-1".to_owned(), 200),
        ("If-Modified-Since: Tue, 03 Mar 2099 10:00:00 GMT".to_owned(), 200),
    ] {
        for method in ["GET", "HEAD"] {
            let answer = wire.ask(method, 500, &format!("{fields}\r\n")).await;
            // HEAD knows no ranges (section 14.2).
            let status = if method == "HEAD" && [206, 416].contains(&status) { 200 } else { status };
            assert_eq!((answer.status, answer.field("etag")), (status, Some(&*tag)), "{method} {fields}");
            assert!(![304, 412].contains(&status) || answer.body.is_empty(), "{method} {fields}");
        }
    }
}

/// PH04: nothing but GET and HEAD does anything, and nothing is echoed.
#[tokio::test]
async fn ph04_other_methods_are_refused() {
    let address = start().await;
    for method in ["POST", "PUT", "PATCH", "DELETE", "TRACE", "OPTIONS", "FOO", "get"] {
        let answer = Wire::dial(address).await.ask(method, 500, "Cookie: secret\r\n").await;
        assert_eq!((answer.status, answer.field("allow")), (405, Some("GET, HEAD")), "{method}");
        assert!(!String::from_utf8_lossy(&answer.body).contains("secret"));
    }
    let mut wire = Wire::dial(address).await;
    wire.send(b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let answer = wire.answer("OPTIONS").await;
    assert!([400, 405].contains(&answer.status), "{}", answer.status);
}

/// PH06: what could be read in two ways is read in one, or refused and the connection closed; what is smuggled is never answered.
#[tokio::test]
async fn ph06_nothing_is_smuggled() {
    let address = start().await;
    let marker = format!("GET {} HTTP/1.1\r\nHost: files.test\r\n\r\n", uri(500));
    let head = |fields: &str| format!("GET {} HTTP/1.1\r\nHost: files.test\r\n{fields}\r\n", uri(2));
    let length = marker.len();
    for fields in [
        format!("Content-Length: 0\r\nContent-Length: {length}\r\n"),
        format!("Content-Length: 0, {length}\r\n"),
        format!("Content-Length: +{length}\r\n"),
        "Content-Length: 0x10\r\n".to_owned(),
        "Content-Length: -1\r\n".to_owned(),
        "Content-Length : 0\r\n".to_owned(),
        "Transfer-Encoding : chunked\r\n".to_owned(),
        "Transfer-Encoding: xchunked\r\n".to_owned(),
        "Transfer-Encoding: chunked, identity\r\n".to_owned(),
        "Transfer-Encoding: identity\r\n".to_owned(),
        " Transfer-Encoding: chunked\r\n".to_owned(),
        "X: y\r\n Transfer-Encoding: chunked\r\n".to_owned(),
        "X: y\rTransfer-Encoding: chunked\r\n".to_owned(),
    ] {
        let mut wire = Wire::dial(address).await;
        wire.send(format!("{}{marker}", head(&fields)).as_bytes()).await;
        let text = String::from_utf8_lossy(&wire.rest().await).into_owned();
        assert!(text.starts_with("HTTP/1.1 400 ") || text.starts_with("HTTP/1.1 501 "), "{fields:?}: {text}");
        assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{fields:?}: {text}");
    }
    // hyper takes off a length beside chunks (RFC 9112 section 6.3, rule 3); what follows is no chunk, and the last that is read.
    for fields in [
        format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n"),
    ] {
        let mut wire = Wire::dial(address).await;
        wire.send(format!("{}{marker}", head(&fields)).as_bytes()).await;
        let answer = wire.answer("GET").await;
        assert!(answer.status == 400 || answer.body == BYTES[..2], "{fields:?}: {}", answer.status);
        assert!(wire.rest().await.is_empty(), "{fields:?}");
    }
    // A body is a body, whatever stands in it.
    for (fields, body) in [
        (format!("Content-Length: {length}\r\n"), marker.clone()),
        ("Transfer-Encoding: chunked\r\n".to_owned(), format!("{length:x}\r\n{marker}\r\n0\r\n\r\n")),
    ] {
        let mut wire = Wire::dial(address).await;
        let last = format!("GET {} HTTP/1.1\r\nHost: files.test\r\nConnection: close\r\n\r\n", uri(1));
        wire.send(format!("{}{body}{last}", head(&fields)).as_bytes()).await;
        let text = String::from_utf8_lossy(&wire.rest().await).into_owned();
        assert_eq!(text.matches("HTTP/1.1 200 ").count(), 2, "{fields:?}: {text}");
        assert!(!text.to_lowercase().contains("content-length: 500\r\n"), "{fields:?}: {text}");
    }
}

/// PH09: limits have answers of their own.
#[tokio::test]
async fn ph09_what_is_too_much_is_told() {
    let address = start().await;
    let many: String = (0..200).map(|at| format!("X-{at}: y\r\n")).collect();
    for (fields, statuses) in [
        (many, [431, 400]),
        (format!("X: {}\r\n", "y".repeat(64 << 10)), [431, 400]),
        ("X: a\0b\r\n".to_owned(), [400, 400]),
        ("X: a\x01b\r\n".to_owned(), [400, 400]),
        ("X\0: y\r\n".to_owned(), [400, 400]),
        ("X y: z\r\n".to_owned(), [400, 400]),
        (": y\r\n".to_owned(), [400, 400]),
    ] {
        let answer = Wire::dial(address).await.ask("GET", 500, &fields).await;
        assert!(statuses.contains(&answer.status), "{:.30}: {}", fields.escape_debug(), answer.status);
    }
    assert_eq!(Wire::dial(address).await.ask("GET", 500, "").await.status, 200, "others are unhurt");
}

/// PH10, and fields that are for one hop only (RFC 9110 section 7.6.1).
#[tokio::test]
async fn ph10_http_1_0_and_hops() {
    let address = start().await;
    let mut wire = Wire::dial(address).await;
    wire.send(format!("GET {} HTTP/1.0\r\n\r\n", uri(500)).as_bytes()).await;
    let answer = wire.answer("GET").await;
    assert!(answer.status == 200 && answer.body == BYTES[..500]);
    assert!(wire.rest().await.is_empty(), "HTTP/1.0 closes");
    let mut wire = Wire::dial(address).await;
    for fields in ["Connection: keep-alive, x\r\nKeep-Alive: 5\r\nTE: trailers\r\nX: y\r\nUpgrade: websocket\r\n", ""] {
        let answer = wire.ask("GET", 500, fields).await;
        assert!(answer.status == 200 && answer.body == BYTES[..500], "{}", answer.status);
        for field in ["connection", "keep-alive", "upgrade", "trailer", "x"] {
            assert_eq!(answer.field(field), None, "{field}");
        }
    }
    let answer = wire.ask("GET", 500, "Connection: close\r\n").await;
    assert_eq!((answer.status, answer.field("connection")), (200, Some("close")));
    assert!(wire.rest().await.is_empty());
}
