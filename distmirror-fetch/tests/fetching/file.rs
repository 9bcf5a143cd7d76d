//! The file fetcher against an upstream that misbehaves, case by case.

use std::time::Duration;

use crate::support::{
    Hostile, LIMIT_BYTES, Place, Request, Step, answer, chunked, endless, job, job_for, noise, send, sha256,
};
use distmirror_core::Digests;

#[tokio::test]
async fn a_file_comes_with_what_upstream_said_about_it() {
    let upstream = Hostile::start(|_| {
        let headers = [
            "Content-Type: application/gzip",
            "Content-Disposition: attachment; filename=a.tgz",
            "Content-Encoding: gzip",
            "Last-Modified: Mon, 02 Mar 2020 10:00:00 GMT",
        ];
        send("200 OK", &headers, b"as it came")
    })
    .await;
    let fetched = Place::new().fetch(&job_for(&upstream.url("/a.tgz"), b"as it came")).await.unwrap();
    let content = fetched.content;
    assert_eq!((content.digests, content.size), (Digests::of(b"as it came"), 10));
    assert_eq!(content.content_type.as_deref(), Some("application/gzip"));
    assert_eq!(content.content_disposition.as_deref(), Some("attachment; filename=a.tgz"));
    assert_eq!(content.content_encoding.as_deref(), Some("gzip"));
    assert_eq!(content.last_modified.as_deref(), Some("Mon, 02 Mar 2020 10:00:00 GMT"));
    assert_eq!(content.source.final_url, upstream.url("/a.tgz"));
    assert_eq!(content.source.peer_certificate_sha256, None);
    assert_eq!(fetched.blobs.len(), 1);
    let request = &upstream.requests("/a.tgz")[0];
    assert_eq!(request.header("accept-encoding"), Some("identity"));
    assert_eq!(request.header("accept"), Some("*/*"));
    assert!(request.header("user-agent").is_some_and(|agent| agent.starts_with("distmirror/")));
    assert_eq!(request.header("host"), Some(upstream.address.to_string().as_str()));
    assert_eq!(request.headers.len(), 4, "{:?}", request.headers);
}

#[tokio::test]
async fn other_bytes_than_declared_are_refused_with_both_digests() {
    let upstream = Hostile::start(|_| send("200 OK", &[], b"something else")).await;
    let failure = Place::new().fetch(&job_for(&upstream.url("/a"), b"wanted")).await.unwrap_err().message;
    assert!(failure.contains(&sha256(b"wanted").hex()), "{failure}");
    assert!(failure.contains(&sha256(b"something else").hex()), "{failure}");
}

#[tokio::test]
async fn a_kept_connection_that_upstream_closes_is_no_failure() {
    let upstream = Hostile::start(|request| match request.path.as_str() {
        // Says nothing of closing, and does so when the next request is on its way.
        "/start" => vec![
            Step::Send(answer("302 Found", &["Location: /end", "Content-Length: 0"], b"")),
            Step::Wait(Duration::from_millis(300)),
        ],
        _ => send("200 OK", &[], b"the end"),
    })
    .await;
    let fetched = Place::new().fetch(&job(&upstream.url("/start"))).await.unwrap();
    assert_eq!((fetched.content.size, upstream.requests("/start").len()), (7, 1));
}

fn broken(request: &Request) -> Vec<Step> {
    let half = answer("200 OK", &["Content-Length: 1000"], &[7; 500]);
    match request.path.as_str() {
        "/fin" => vec![Step::Send(half)],
        "/reset" => vec![Step::Send(half), Step::Wait(Duration::from_millis(100)), Step::Reset],
        "/in-a-chunk" => chunked("a\r\nabcdef"),
        "/between-chunks" => chunked("6\r\nabcdef\r\n"),
        "/after-the-last-chunk" => chunked("6\r\nabcdef\r\n0\r\n"),
        "/bad-chunk-size" => chunked("6\r\nabcdef\r\nzz\r\nabc\r\n0\r\n\r\n"),
        "/by-closing" => send("200 OK", &["Connection: close"], b"is this all?"),
        "/two-lengths" => send("200 OK", &["Content-Length: 5", "Content-Length: 6"], b"abcdef"),
        "/nothing" => Vec::new(),
        "/half-a-head" => vec![Step::Send(b"HTTP/1.1 200 OK\r\nContent-Le".to_vec())],
        "/garbage" => vec![Step::Send(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec())],
        "/strange-coding" => {
            vec![Step::Send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n1\r\na\r\n0\r\n\r\n".to_vec())]
        }
        "/huge" => vec![
            Step::Send(answer("200 OK", &["Content-Length: 1000000000000000"], b"")),
            Step::SendForEver(vec![0; 65536]),
        ],
        "/endless" => endless(),
        "/silent" => vec![Step::Wait(Duration::from_secs(60))],
        "/silent-in-the-body" => vec![Step::Send(half), Step::Wait(Duration::from_secs(60))],
        path => send(&format!("{} Trouble", &path[1..]), &[], b"an error page"),
    }
}

#[tokio::test]
async fn every_broken_answer_is_a_failure_that_says_why() {
    let upstream = Hostile::start(broken).await;
    for (path, words) in [
        ("/fin", "truncated: 500 of 1000 bytes"),
        ("/reset", "truncated: 500 of 1000 bytes"),
        ("/in-a-chunk", "truncated after 6 bytes"),
        ("/between-chunks", "truncated after 6 bytes"),
        ("/after-the-last-chunk", "truncated after 6 bytes"),
        ("/bad-chunk-size", "truncated after 6 bytes"),
        ("/by-closing", "declare a checksum"),
        ("/two-lengths", "cannot fetch"),
        ("/nothing", "cannot fetch"),
        ("/half-a-head", "cannot fetch"),
        ("/garbage", "cannot fetch"),
        ("/strange-coding", "`gzip, chunked`"),
        ("/huge", "too large: upstream announces 1000000000000000 bytes"),
        ("/endless", "larger than the limit of 4194304 bytes"),
        ("/silent", "timed out"),
        ("/silent-in-the-body", "timed out"),
        ("/204", "answered 204"),
        ("/206", "answered 206"),
        ("/304", "answered 304"),
        ("/401", "answered 401"),
        ("/403", "answered 403"),
        ("/404", "answered 404 Not Found"),
        ("/410", "answered 410"),
        ("/451", "answered 451"),
        ("/500", "answered 500"),
    ] {
        let place = Place::new();
        let failure = place.failure(&upstream.url(path)).await;
        assert!(failure.contains(words), "{path}: {failure}");
        // The last piece is still being written where the limit was passed; it is removed when that is done.
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(place.spooled_bytes(), 0, "{path}");
    }
}

#[tokio::test]
async fn an_end_by_closing_is_good_enough_with_a_checksum() {
    let upstream = Hostile::start(broken).await;
    let fetched = Place::new().fetch(&job_for(&upstream.url("/by-closing"), b"is this all?")).await.unwrap();
    assert_eq!(fetched.content.size, 12);
}

#[tokio::test]
async fn the_largest_file_is_let_in_and_one_byte_more_is_not() {
    let upstream = Hostile::start(|request| {
        let more = usize::from(request.path == "/more");
        send("200 OK", &[], &vec![1; LIMIT_BYTES as usize + more])
    })
    .await;
    let place = Place::new();
    assert_eq!(place.fetch(&job(&upstream.url("/most"))).await.unwrap().content.size, LIMIT_BYTES);
    assert!(place.failure(&upstream.url("/more")).await.contains("too large"));
}

#[tokio::test]
async fn upstream_can_ask_to_wait() {
    let upstream = Hostile::start(|request| match request.path.as_str() {
        "/seconds" => send("429 Too Many Requests", &["Retry-After: 2"], b""),
        "/for-ever" => send("503 Service Unavailable", &["Retry-After: 99999999"], b""),
        "/garbage" => send("429 Too Many Requests", &["Retry-After: soon, ok?"], b""),
        _ => send("404 Not Found", &["Retry-After: 2"], b""),
    })
    .await;
    for (path, seconds) in [("/seconds", Some(2)), ("/for-ever", Some(3600)), ("/garbage", None), ("/404", None)] {
        let failure = Place::new().fetch(&job(&upstream.url(path))).await.unwrap_err();
        assert_eq!(failure.retry_after.map(|wait| wait.as_secs()), seconds, "{path}: {failure}");
    }
}

#[tokio::test]
async fn redirects_are_followed_and_recorded() {
    let upstream = Hostile::start(|request| match request.path.as_str() {
        "/0" => send("301 Moved", &["Location: /1"], b"moved"),
        "/1" => send("302 Found", &["Location: 2?token=secret"], b"moved"),
        "/2?token=secret" => send("303 See Other", &["Location: /3"], b"moved"),
        "/3" => send("307 Temporary Redirect", &["Location: /4"], b"moved"),
        "/4" => send("308 Permanent Redirect", &["Location: /5"], b"moved"),
        "/loop" => send("302 Found", &["Location: /back"], b""),
        "/back" => send("302 Found", &["Location: /loop"], b""),
        "/self" => send("302 Found", &["Location: "], b""),
        "/nowhere" => send("302 Found", &[], b""),
        path if path.starts_with("/many") => {
            let next = path[5..].parse::<u32>().unwrap() + 1;
            send("302 Found", &[&format!("Location: /many{next}")], b"")
        }
        _ => send("200 OK", &[], b"here"),
    })
    .await;
    let source = Place::new().fetch(&job(&upstream.url("/0"))).await.unwrap().content.source;
    assert_eq!(source.final_url, upstream.url("/5"));
    assert_eq!(source.redirects, ["/0", "/1", "/2?token=****", "/3", "/4"].map(|path| upstream.url(path)));
    assert_eq!(upstream.requests("/5")[0].header("referer"), None);
    for (path, words) in [
        ("/loop", "redirect loop"),
        ("/self", "redirect loop"),
        ("/nowhere", "without saying where to go"),
        ("/many0", "more than 10 redirects"),
    ] {
        let failure = Place::new().failure(&upstream.url(path)).await;
        assert!(failure.contains(words), "{path}: {failure}");
    }
    assert!(upstream.requests("/many10").len() == 1 && upstream.requests("/many11").is_empty());
}

/// An upstream that breaks off in the middle of the first transfer; what comes of the second is the test's.
async fn breaks_off_once(
    first_headers: &'static [&'static str],
    second: impl Fn(&Request) -> Vec<Step> + Send + Sync + 'static,
) -> Hostile {
    Hostile::start(move |request| {
        if request.earlier > 0 {
            return second(request);
        }
        let whole = answer("200 OK", first_headers, &noise(SIZE));
        vec![Step::Send(whole[..whole.len() - SIZE / 2].to_vec())]
    })
    .await
}

const SIZE: usize = 400_000;

fn rest(request: &Request, body: &[u8], tag: &str) -> Vec<Step> {
    let start = request.range_start().unwrap();
    let range = format!("Content-Range: bytes {start}-{}/{}", body.len() - 1, body.len());
    send("206 Partial Content", &[&range, &format!("ETag: {tag}")], &body[start..])
}

#[tokio::test]
async fn an_interrupted_transfer_is_resumed() {
    let upstream = breaks_off_once(&["ETag: \"v1\""], |request| {
        assert_eq!(request.header("if-range"), Some("\"v1\""));
        assert_eq!(request.range_start(), Some(SIZE / 2));
        rest(request, &noise(SIZE), "\"v1\"")
    })
    .await;
    let place = Place::new();
    let job = job(&upstream.url("/a"));
    assert!(place.fetch(&job).await.unwrap_err().message.contains("truncated: 200000 of 400000 bytes"));
    assert_eq!(place.fetch(&job).await.unwrap().content.digests, Digests::of(&noise(SIZE)));
    assert_eq!(upstream.requests("/a").len(), 2);
    assert_eq!(place.spooled_bytes(), 0);
}

#[tokio::test]
async fn nothing_is_ever_spliced() {
    fn other() -> Vec<u8> {
        noise(SIZE).into_iter().rev().collect()
    }
    type Second = fn(&Request) -> Vec<Step>;
    let whole: Second = |_| send("200 OK", &["ETag: \"v2\""], &other());
    let cases: [(&str, &'static [&'static str], Second); 9] = [
        ("the tag changed", &["ETag: \"v1\""], |request| rest(request, &other(), "\"v2\"")),
        ("a weak tag", &["ETag: \"v1\""], |request| rest(request, &other(), "W/\"v1\"")),
        ("the whole comes", &["ETag: \"v1\""], whole),
        ("416 comes", &["ETag: \"v1\""], |_| send("416 Range Not Satisfiable", &["Content-Range: bytes */9"], b"")),
        ("206 without a range", &["ETag: \"v1\""], |_| send("206 Partial Content", &["ETag: \"v1\""], &other())),
        ("another start", &["ETag: \"v1\""], |_| {
            let range = format!("Content-Range: bytes 1000-{}/{SIZE}", SIZE - 1);
            send("206 Partial Content", &["ETag: \"v1\"", &range], &other()[1000..])
        }),
        ("another total", &["ETag: \"v1\""], |request| rest(request, &[other(), b"more".to_vec()].concat(), "\"v1\"")),
        ("only a weak tag before", &["ETag: W/\"v1\""], whole),
        ("no tag before", &[], whole),
    ];
    for (what, first_headers, second) in cases {
        let upstream = breaks_off_once(first_headers, move |request| match request.range_start() {
            Some(_) => second(request),
            None => send("200 OK", &["ETag: \"v2\""], &other()),
        })
        .await;
        let place = Place::new();
        let job = job(&upstream.url("/a"));
        place.fetch(&job).await.unwrap_err();
        let fetched = place.fetch(&job).await.unwrap_or_else(|failure| panic!("{what}: {failure}"));
        assert_eq!(fetched.content.digests, Digests::of(&other()), "{what}");
    }
}

#[tokio::test]
async fn what_a_redirect_leads_to_now_is_not_the_rest_of_what_it_led_to_before() {
    let upstream = Hostile::start(|request| match (request.path.as_str(), request.range_start()) {
        ("/a", _) => send("302 Found", &[&format!("Location: /{}", request.earlier)], b""),
        ("/0", _) => {
            let whole = answer("200 OK", &["ETag: \"v1\""], &noise(SIZE));
            vec![Step::Send(whole[..whole.len() - SIZE / 2].to_vec())]
        }
        (_, Some(_)) => rest(request, &vec![7; SIZE], "\"v1\""),
        (_, None) => send("200 OK", &["ETag: \"v1\""], &vec![7; SIZE]),
    })
    .await;
    let place = Place::new();
    let job = job(&upstream.url("/a"));
    place.fetch(&job).await.unwrap_err();
    let fetched = place.fetch(&job).await.unwrap();
    assert_eq!(fetched.content.digests, Digests::of(&vec![7; SIZE]), "a tag is unique within one resource only");
}

#[tokio::test]
async fn a_failure_in_between_does_not_lose_what_is_here() {
    let upstream = breaks_off_once(&["ETag: \"v1\""], |request| match request.earlier {
        1 => send("503 Service Unavailable", &[], b"later"),
        _ => rest(request, &noise(SIZE), "\"v1\""),
    })
    .await;
    let place = Place::new();
    let job = job(&upstream.url("/a"));
    place.fetch(&job).await.unwrap_err();
    assert!(place.fetch(&job).await.unwrap_err().message.contains("503"));
    assert_eq!(place.fetch(&job).await.unwrap().content.digests, Digests::of(&noise(SIZE)));
}
