//! Kills and stops of running servers with work on their hands.

use std::{
    collections::HashSet,
    fs,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use reqwest::{Certificate, Client, Method, Proxy, Response, StatusCode};
use serde_json::{Value, json};
use testkit::{Answer, Upstream};

use super::house::digest;
use crate::support::{Backends, Reach, Server};

/// How much of a file has come when the fetcher is killed, in percent.
const PARTS: [usize; 3] = [10, 50, 90];

#[tokio::test]
async fn a_fetcher_killed_at_any_part_of_a_file_goes_on_from_there() {
    let upstream = Upstream::start(&[]).await;
    let body: Vec<u8> = (0..6_000_000_u32).map(|at| (at % 251) as u8).collect();
    for part in PARTS {
        let (stalling, length) = (body.clone(), body.len());
        upstream.on(&format!("/{part}"), move |request| match from(request.headers()) {
            None => Answer::ok(stalling.clone()).header("etag", "\"v1\"").stall_after(length * part / 100),
            Some(at) => Answer::new(206)
                .body(stalling[at..].to_vec())
                .header("etag", "\"v1\"")
                .header("content-range", &format!("bytes {at}-{}/{length}", length - 1)),
        });
    }
    let mut server = Server::start(Backends::embedded, Reach::from(&upstream).patient()).await;
    let mut declared = Vec::new();
    for part in PARTS {
        declared.push(server.declare(&upstream.url(&format!("/{part}")), None).await);
    }
    let spool = server.folder().join("data/spool");
    for (part, artifact) in PARTS.iter().zip(&declared) {
        let path = spool.join(format!("{}.part", artifact["id"].as_str().expect("an artifact has an id")));
        // What is less than a piece of half a mebibyte waits in memory.
        let wanted = body.len() * part / 100 - 512 * 1024;
        while fs::metadata(&path).map_or(0, |found| found.len()) < wanted as u64 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(server.curl(&[&upstream.url(&format!("/{part}"))]).await.status, 503, "nothing is served half");
    }
    server.kill_and_restart().await;
    for (part, artifact) in PARTS.iter().zip(&declared) {
        let uri = upstream.url(&format!("/{part}"));
        server.wait_for(artifact, "present").await;
        assert!(server.curl(&[&uri]).await.body == body, "{part}");
        let requests = upstream.requests(&format!("/{part}"));
        let resumed = requests.iter().filter_map(|request| from(request.headers())).max();
        assert!(resumed.is_some_and(|at| at > body.len() * part / 100 - 512 * 1024), "{part}: {resumed:?}");
    }
    assert_eq!(fs::read_dir(spool).expect("it is there").count(), 0, "debris in the spool");
    server.stop().await;
}

/// Where a request for the rest of a file begins.
fn from(headers: &reqwest::header::HeaderMap) -> Option<usize> {
    headers.get("range")?.to_str().ok()?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
}

/// How often the admin side is killed, and how many declarations are acknowledged each time before that.
const KILLS: usize = 12;
const ACKNOWLEDGED: usize = 7;

#[tokio::test]
async fn what_the_admin_side_acknowledged_is_there_however_often_it_is_killed() {
    let upstream = Upstream::start(&[]).await;
    let mut server = Server::start_role(&["admin"], Backends::embedded, &upstream).await;
    let acknowledged = Arc::new(Mutex::new(HashSet::new()));
    let sent = Arc::new(AtomicUsize::new(0));
    for _ in 0..KILLS {
        let before = acknowledged.lock().expect("nobody panicked").len();
        let people: Vec<_> = (0..4).map(|_| tokio::spawn(declare_on(&server, &sent, &acknowledged))).collect();
        while acknowledged.lock().expect("nobody panicked").len() < before + ACKNOWLEDGED {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        server.kill_and_restart().await;
        for ended in join_all(people).await {
            ended.expect("it does not panic");
        }
    }
    let acknowledged = acknowledged.lock().expect("nobody panicked").clone();
    assert!(acknowledged.len() >= KILLS * ACKNOWLEDGED);
    let there = all_names(&server).await;
    let lost: Vec<_> = acknowledged.iter().filter(|uri| !there.contains(uri)).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    // Whoever got no answer asks again: nothing is there twice.
    let all: HashSet<_> = (0..sent.load(Ordering::SeqCst)).map(uri).collect();
    for uri in &all {
        server.declare(uri, None).await;
    }
    let there = all_names(&server).await;
    assert_eq!((there.len(), there.into_iter().collect::<HashSet<_>>()), (all.len(), all));
    server.stop().await;
}

/// Declares one file after the other until nobody answers.
fn declare_on(
    server: &Server,
    sent: &Arc<AtomicUsize>,
    acknowledged: &Arc<Mutex<HashSet<String>>>,
) -> impl Future<Output = ()> + use<> {
    let (url, sent, acknowledged) =
        (format!("{}/api/v1/artifacts", server.admin_url()), Arc::clone(sent), Arc::clone(acknowledged));
    async move {
        let client = Client::builder().no_proxy().build().expect("an HTTP client");
        loop {
            let uri = uri(sent.fetch_add(1, Ordering::SeqCst));
            let body = json!({"kind": "file", "uri": uri, "reason": "the test needs it"});
            match client.post(&url).json(&body).send().await {
                Ok(answer) if answer.status().is_success() => acknowledged.lock().expect("nobody panicked").insert(uri),
                Ok(answer) => panic!("{}", answer.status()),
                Err(_) => return,
            };
        }
    }
}

fn uri(number: usize) -> String {
    format!("http://files.test/{number}")
}

async fn all_names(server: &Server) -> Vec<String> {
    let (mut names, mut cursor) = (Vec::new(), String::new());
    loop {
        let (status, page) = server.api(Method::GET, &format!("/artifacts?limit=100{cursor}"), None).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        let items = page["items"].as_array().expect("a page has items");
        names.extend(items.iter().filter_map(|item| item["uri"].as_str().map(str::to_owned)));
        match &page["next"] {
            Value::String(next) => cursor = format!("&cursor={next}"),
            _ => return names,
        }
    }
}

/// How many downloads run, half of them in TLS.
const KILLED: usize = 20;
const STOPPED: usize = 5;

#[tokio::test]
async fn a_proxy_that_is_killed_ends_no_download_as_if_it_were_whole() {
    let (upstream, body) = upstream_with_a_large_file().await;
    let mut server = serving(&upstream, &body).await;
    let running = begin_downloads(&server, &upstream, KILLED).await;
    server.kill_and_restart().await;
    let ended = join_all(running.into_iter().map(read_on)).await;
    assert!(ended.iter().all(Option::is_none), "a body that was cut looks whole: {:?}", lengths(&ended));
    let again = join_all(begin_downloads(&server, &upstream, KILLED).await.into_iter().map(read_on)).await;
    assert!(again.iter().all(|bytes| bytes.as_ref() == Some(&body)), "{:?}", lengths(&again));
    server.stop().await;
}

#[tokio::test]
async fn downloads_that_run_when_the_server_is_stopped_end_whole_or_are_cut() {
    let (upstream, body) = upstream_with_a_large_file().await;
    let server = serving(&upstream, &body).await;
    let mut running = begin_downloads(&server, &upstream, STOPPED).await;
    // Nobody reads this one: it is cut when the time is over that downloads get.
    let stuck = running.pop().expect("downloads run");
    let readers: Vec<_> = running.into_iter().map(|download| tokio::spawn(read_on(download))).collect();
    let _folder = server.stop().await;
    for reader in readers {
        assert!(reader.await.expect("it does not panic").as_ref() == Some(&body), "a download was cut");
    }
    assert_eq!(read_on(stuck).await, None);
}

async fn upstream_with_a_large_file() -> (Upstream, Vec<u8>) {
    let upstream = Upstream::start(&[]).await;
    // More than all buffers between two programs of one machine hold.
    let body: Vec<u8> = (0..16_000_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    upstream.file("/large", body.clone());
    (upstream, body)
}

/// A server that has the file under both schemes.
async fn serving(upstream: &Upstream, body: &[u8]) -> Server {
    let server = Server::start(Backends::embedded, upstream).await;
    // The second is fetched from the first, since it must have the same bytes.
    let digest = digest(body);
    for uri in [upstream.url("/large"), upstream.https_url("/large")] {
        let declared = server.declare(&uri, Some(&digest)).await;
        server.wait_for(&declared, "present").await;
    }
    server
}

/// A download, and what has come of it.
type Download = (Response, Vec<u8>);

/// Downloads of which the beginning has come.
async fn begin_downloads(server: &Server, upstream: &Upstream, count: usize) -> Vec<Download> {
    let ca = trusting(&server.ca_pem_path().await);
    let proxy = server.proxy_url();
    let begin = (0..count).map(|number| {
        let uri = if number % 2 == 0 { upstream.url("/large") } else { upstream.https_url("/large") };
        let proxy = Proxy::all(&proxy).expect("the URL of a proxy");
        let client = Client::builder().proxy(proxy).add_root_certificate(ca.clone()).build().expect("an HTTP client");
        async move {
            let mut answer = client.get(uri).send().await.expect("the proxy answers");
            assert_eq!(answer.status(), StatusCode::OK);
            let beginning = answer.chunk().await.expect("a body comes").expect("it is not empty");
            (answer, beginning.to_vec())
        }
    });
    join_all(begin).await
}

fn trusting(pem: &Path) -> Certificate {
    Certificate::from_pem(&fs::read(pem).expect("the certificate")).expect("a certificate")
}

/// The body, if it ends as a whole one does.
async fn read_on((mut answer, mut bytes): Download) -> Option<Vec<u8>> {
    loop {
        match answer.chunk().await {
            Ok(Some(piece)) => bytes.extend_from_slice(&piece),
            Ok(None) => return Some(bytes),
            Err(_) => return None,
        }
    }
}

fn lengths(bodies: &[Option<Vec<u8>>]) -> Vec<Option<usize>> {
    bodies.iter().map(|body| body.as_ref().map(Vec::len)).collect()
}
