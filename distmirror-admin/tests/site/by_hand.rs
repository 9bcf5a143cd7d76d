//! `PUT /api/v1/artifacts/ID/content`, and the form that does the same.

use std::{sync::Arc, time::Duration};

use distmirror_admin::Options;
use distmirror_core::{BlobStore, Failure, Intake, Sha256, memory::MemoryBlobStore};
use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    pages::{NASTY, id, page},
    sample::Sample,
    support::{Answer, Site, parse},
};

/// A site that takes files in, and its spool.
async fn start(max_bytes: u64) -> (Site, TempDir) {
    let spool = tempfile::tempdir().expect("a folder");
    let blobs: Arc<dyn BlobStore> = Arc::new(MemoryBlobStore::new());
    let intake = Intake::open(spool.path(), Arc::clone(&blobs), max_bytes).expect("an empty folder");
    let public_url = Some("https://mirror.test/".to_owned());
    let options = Options { intake: Some(intake), public_url, ..Options::default() };
    (Site::start_over(blobs, options, std::future::pending()).await.0, spool)
}

fn path(artifact: &Value) -> String {
    format!("/api/v1/artifacts/{}/content", id(artifact))
}

async fn put(site: &Site, artifact: &Value, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    site.send("PUT", &path(artifact), headers, body).await
}

async fn declared_with_checksum(site: &Site, uri: &str, bytes: &[u8]) -> Value {
    let body = json!({"uri": uri, "reason": "r", "sha256": Sha256::of(bytes).hex()});
    site.post("/api/v1/artifacts", &body).await.json()
}

/// Nothing of it is here: not in the catalog, not in the store, not in the spool.
async fn assert_absent(site: &Site, spool: &TempDir, artifact: &Value, bytes: &[u8]) {
    assert_eq!(site.shown(artifact).await["state"], "pending");
    assert_eq!(site.mirror.blobs().stat(&Sha256::of(bytes)).await.expect("a store in memory"), None);
    assert_eq!(files(spool), 0);
}

fn files(spool: &TempDir) -> usize {
    std::fs::read_dir(spool.path()).expect("the spool").count()
}

#[tokio::test]
async fn what_is_supplied_is_verified_and_in_service() {
    let (site, spool) = start(u64::MAX).await;
    let artifact = declared_with_checksum(&site, "http://h/a", b"bytes").await;
    let answer = put(&site, &artifact, &[("Content-Type", "application/x-tar")], b"bytes").await;
    let shown = answer.json();
    assert_eq!((answer.status, &shown["state"], &shown["trust"]), (200, &json!("present"), &json!("verified")));
    assert_eq!((&shown["sha256"], &shown["size"]), (&json!(Sha256::of(b"bytes").hex()), &json!(5)));
    assert_eq!(shown["content_type"], "application/x-tar");
    assert_eq!(
        (&shown["source"]["note"], &shown["source"]["final_url"]),
        (&json!("supplied by local user"), &json!(""))
    );
    assert_eq!(shown, site.shown(&artifact).await);
    assert_eq!(site.mirror.blobs().stat(&Sha256::of(b"bytes")).await.unwrap(), Some(5));
    assert_eq!(files(&spool), 0);
    let audit = site.get(&format!("/api/v1/audit?artifact={}", id(&artifact))).await.json();
    assert_eq!((&audit["items"][0]["action"], &audit["items"][0]["who"]), (&json!("supplied"), &json!("local user")));
    let html = page(&site, &format!("/artifacts/{}", id(&artifact))).await.body;
    assert!(html.contains("supplied by local user, not fetched") && html.contains(">supplied <time"), "{html}");
    assert!(!html.contains("Supply it by hand"));
}

#[tokio::test]
async fn without_a_declared_checksum_one_must_be_shown() {
    let (site, spool) = start(u64::MAX).await;
    let artifact = site.declared("http://h/a").await;
    let digest = Sha256::of(b"bytes").hex();
    for headers in [&[][..], &[("X-Checksum-Sha256", " ")], &[("X-Checksum-Sha256", "abc")]] {
        let answer = put(&site, &artifact, headers, b"bytes").await;
        assert_eq!((answer.status, answer.bad_fields()), (422, vec!["sha256".to_owned()]), "{answer:?}");
    }
    let wrong = put(&site, &artifact, &[("X-Checksum-Sha256", &"f".repeat(64))], b"bytes").await;
    assert_eq!((wrong.status, &wrong.json()["code"]), (409, &json!("checksum_mismatch")));
    assert_absent(&site, &spool, &artifact, b"bytes").await;

    // As curl sends it with `--data-binary`: with a type that nobody meant.
    let headers = [("X-Checksum-Sha256", digest.as_str()), ("Content-Type", "application/x-www-form-urlencoded")];
    let shown = put(&site, &artifact, &headers, b"bytes").await.json();
    assert_eq!((&shown["state"], &shown["trust"]), (&json!("present"), &json!("first-use")));
    assert_eq!(shown["content_type"], Value::Null);

    let other = site.declared("http://h/b").await;
    let asked = format!("{}?sha256=sha256:{}", path(&other), digest.to_uppercase());
    assert_eq!(site.send("PUT", &asked, &[], b"bytes").await.status, 200);
    let empty = site.declared("http://h/empty").await;
    let asked = format!("{}?sha256={}", path(&empty), Sha256::of(b"").hex());
    assert_eq!(site.send("PUT", &asked, &[], b"").await.json()["size"], 0);
}

#[tokio::test]
async fn other_bytes_are_refused_and_both_digests_named() {
    let (site, spool) = start(u64::MAX).await;
    let artifact = declared_with_checksum(&site, "http://h/a", b"right").await;
    for large in [false, true] {
        let bytes = if large { vec![7; 3 << 20] } else { b"wrong".to_vec() };
        let answer = put(&site, &artifact, &[], &bytes).await;
        assert_eq!((answer.status, &answer.json()["code"]), (409, &json!("checksum_mismatch")));
        for digest in [Sha256::of(b"right"), Sha256::of(&bytes)] {
            assert!(answer.body.contains(&digest.hex()), "{answer:?}");
        }
        assert_absent(&site, &spool, &artifact, &bytes).await;
    }
    let shown = put(&site, &artifact, &[("X-Checksum-Sha256", &Sha256::of(b"wrong").hex())], b"wrong").await;
    assert_eq!((shown.status, &shown.json()["code"]), (409, &json!("checksum_conflict")));
    assert_absent(&site, &spool, &artifact, b"wrong").await;
}

#[tokio::test]
async fn what_cannot_be_supplied_is_refused_before_the_body_is_read() {
    let (site, spool) = start(100).await;
    let present = site.present("http://h/present", b"bytes").await;
    let image = Sample::new("word").declared(&site).await;
    let file = declared_with_checksum(&site, "http://h/a", b"bytes").await;
    let unknown = json!({"id": "00000000-0000-0000-0000-000000000000"});
    let garbage = json!({"id": "garbage"});
    for (artifact, status, code) in [
        (&present, 409, "wrong_state"),
        (&image, 409, "wrong_kind"),
        (&unknown, 404, "not_found"),
        (&garbage, 400, "bad_request"),
        (&file, 413, "too_large"),
    ] {
        // The client waits for leave to send, and does not get it.
        let head = format!(
            "PUT {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 1000000\r\n\r\n",
            path(artifact)
        );
        let answer = site.raw(head.as_bytes()).await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (status, Some(code)), "{answer:?}");
    }
    assert!(put(&site, &image, &[], b"x").await.body.contains("an image cannot be supplied as one file"));
    let chunked = b"Transfer-Encoding: chunked\r\n\r\n65\r\n".to_vec();
    let body = [chunked, vec![b'x'; 0x65], b"\r\n0\r\n\r\n".to_vec()].concat();
    let head = format!("PUT {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n", path(&file));
    assert_eq!(site.raw(&[head.as_bytes(), &body].concat()).await.status, 413);
    assert_absent(&site, &spool, &file, b"bytes").await;
    assert_eq!(site.shown(&present).await, present);
}

#[tokio::test]
async fn a_large_file_passes_through_the_spool_in_pieces() {
    let (site, spool) = start(u64::MAX).await;
    let bytes: Vec<u8> = (0..20_u32 << 20).map(|at| (at / 7 + at / 4093) as u8).collect();
    let artifact = declared_with_checksum(&site, "http://h/large", &bytes).await;
    let mut stream = TcpStream::connect(site.address()).await.unwrap();
    let head = format!(
        "PUT {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        path(&artifact),
        bytes.len()
    );
    let (first, rest) = bytes.split_at(bytes.len() / 2);
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(first).await.unwrap();
    // While the rest is not sent yet, what came is on disk, but for the last piece.
    let spooled = || {
        let files = std::fs::read_dir(spool.path()).unwrap();
        files.map(|file| file.unwrap().metadata().unwrap().len()).sum::<u64>()
    };
    let arrived = async {
        while spooled() + (1 << 20) < first.len() as u64 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), arrived).await.expect("it is written while it comes");
    assert_eq!(site.shown(&artifact).await["state"], "pending");
    stream.write_all(rest).await.unwrap();
    let mut received = String::new();
    stream.read_to_string(&mut received).await.unwrap();
    let answer = parse(&received);
    assert_eq!((answer.status, &answer.json()["size"]), (200, &json!(bytes.len())));
    assert_eq!(files(&spool), 0);
}

#[tokio::test]
async fn a_body_that_is_cut_short_is_refused() {
    let (site, spool) = start(u64::MAX).await;
    let whole = vec![7; 4 << 20];
    let artifact = declared_with_checksum(&site, "http://h/a", &whole).await;
    let part = &whole[..2 << 20];
    // The checksum is that of what comes: only the length tells that something is missing.
    let cut = declared_with_checksum(&site, "http://h/b", part).await;
    for (artifact, framing, body) in [
        (&artifact, format!("Content-Length: {}", whole.len()), part.to_vec()),
        (&cut, format!("Content-Length: {}", whole.len()), part.to_vec()),
        (&cut, "Transfer-Encoding: chunked".to_owned(), [format!("{:x}\r\n", part.len()).as_bytes(), part].concat()),
    ] {
        let mut stream = TcpStream::connect(site.address()).await.unwrap();
        let head = format!("PUT {} HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n\r\n", path(artifact));
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&body).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut received = String::new();
        let _ = stream.read_to_string(&mut received).await;
        assert!(received.is_empty() || parse(&received).status == 400, "{received}");
        let cleared = async {
            while files(&spool) > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), cleared).await.expect("nothing of it is kept");
        assert_absent(&site, &spool, artifact, part).await;
    }
}

#[tokio::test]
async fn other_sites_cannot_supply_and_who_has_no_intake_says_so() {
    let (site, _spool) = start(u64::MAX).await;
    let artifact = declared_with_checksum(&site, "http://h/a", b"bytes").await;
    for headers in [("Origin", "http://attacker.test"), ("Sec-Fetch-Site", "cross-site")] {
        assert_eq!(put(&site, &artifact, &[headers], b"bytes").await.status, 403);
    }
    assert_eq!(put(&site, &artifact, &[("Host", "attacker.test")], b"bytes").await.status, 421);
    let (body, headers) = form(&[("file", "a.bin", b"bytes")]);
    let form_path = format!("/artifacts/{}/content", id(&artifact));
    let foreign = [headers, ("Origin", "http://attacker.test")];
    assert_eq!(site.send("POST", &form_path, &foreign, &body).await.status, 403);
    assert_eq!(site.send("POST", &form_path, &[headers], &body).await.status, 403);
    assert_eq!(site.shown(&artifact).await["state"], "pending");

    let without = Site::start().await;
    let artifact = declared_with_checksum(&without, "http://h/a", b"bytes").await;
    let answer = put(&without, &artifact, &[], b"bytes").await;
    assert_eq!((answer.status, &answer.json()["code"]), (503, &json!("no_intake")));
    assert!(!page(&without, &format!("/artifacts/{}", id(&artifact))).await.body.contains("Supply it by hand"));
}

/// A form with files and fields, as a browser sends it; a field is a file without a name.
fn form(parts: &[(&str, &str, &[u8])]) -> (Vec<u8>, (&'static str, &'static str)) {
    let mut body = Vec::new();
    for (name, file_name, bytes) in parts {
        let of_file = match *file_name {
            "" => String::new(),
            name => format!("; filename=\"{name}\"\r\nContent-Type: application/x-tar"),
        };
        let head = format!("--XBOUNDARY\r\nContent-Disposition: form-data; name=\"{name}\"{of_file}\r\n\r\n");
        body.extend_from_slice(&[head.as_bytes(), bytes, b"\r\n"].concat());
    }
    body.extend_from_slice(b"--XBOUNDARY--\r\n");
    (body, ("Content-Type", "multipart/form-data; boundary=XBOUNDARY"))
}

async fn submit(site: &Site, artifact: &Value, parts: &[(&str, &str, &[u8])]) -> Answer {
    let (body, content_type) = form(parts);
    let path = format!("/artifacts/{}/content", id(artifact));
    site.send("POST", &path, &[content_type, ("Sec-Fetch-Site", "same-origin")], &body).await
}

#[tokio::test]
async fn the_form_supplies_a_file_of_any_size() {
    let (site, spool) = start(u64::MAX).await;
    let bytes: Vec<u8> = (0..6_u32 << 20).map(|at| (at / 5) as u8).collect();
    let digest = Sha256::of(&bytes).hex();
    let artifact = site.declared("http://h/it's.bin").await;
    site.lease().await;
    let artifact_page = format!("/artifacts/{}", id(&artifact));
    assert!(!page(&site, &artifact_page).await.body.contains("Supply it by hand"), "while it is fetched, wait");

    let artifact = site.declared("http://h/tool.bin").await;
    let job = site.lease().await;
    site.mirror.catalog().fail(&job.lease, &Failure::new("answered 404"), None, Timestamp::now()).await.unwrap();
    let artifact_page = format!("/artifacts/{}", id(&artifact));
    let html = page(&site, &artifact_page).await.body;
    for part in [
        "<details class=\"card\" open>",
        "enctype=\"multipart/form-data\"",
        "name=\"sha256\"",
        "type=\"file\"",
        &format!("curl -f -T tool.bin &#39;https://mirror.test{}?sha256=HEX&#39;", path(&artifact)),
    ] {
        assert!(html.contains(part), "no {part} in {html}");
    }
    for (parts, status, part) in [
        (vec![("sha256", "", digest.as_bytes())], 422, "file: is missing"),
        (vec![("file", "x", &bytes[..])], 422, "sha256: is required"),
        (vec![("sha256", "", NASTY.as_bytes()), ("file", "x", b"y")], 422, "sha256: "),
        (vec![("sha256", "", digest.as_bytes()), ("file", "x", b"other")], 409, "checksum mismatch"),
    ] {
        let answer = submit(&site, &artifact, &parts).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.body.contains("role=\"alert\">") && answer.body.contains(part), "no {part} in {answer:?}");
        assert!(!answer.body.contains("alert(1)</script>"));
    }
    let typed = submit(&site, &artifact, &[("sha256", "", digest.as_bytes()), ("file", "x", b"other")]).await;
    assert!(typed.body.contains(&format!("value=\"{digest}\"")), "{typed:?}");
    assert_eq!(site.shown(&artifact).await["state"], "failed");

    let good = submit(&site, &artifact, &[("sha256", "", digest.as_bytes()), ("file", "tool.bin", &bytes)]).await;
    assert_eq!((good.status, good.header("location")), (303, format!("{artifact_page}?done=supplied").as_str()));
    let shown = site.shown(&artifact).await;
    assert_eq!((&shown["sha256"], &shown["content_type"]), (&json!(digest), &json!("application/x-tar")));
    assert!(page(&site, good.header("location")).await.body.contains("It is here, verified and in service."));
    assert_eq!(files(&spool), 0);
}

#[tokio::test]
async fn forms_that_cannot_be_read_are_refused() {
    let (site, spool) = start(u64::MAX).await;
    let artifact = declared_with_checksum(&site, "http://h/a", b"bytes").await;
    let path = format!("/artifacts/{}/content", id(&artifact));
    let same = ("Sec-Fetch-Site", "same-origin");
    let multipart = ("Content-Type", "multipart/form-data; boundary=XBOUNDARY");
    let (whole, _) = form(&[("file", "x", b"bytes")]);
    let endless = [b"--XBOUNDARY\r\nX: ".to_vec(), vec![b'x'; 6 << 20]].concat();
    for (content_type, body, status) in [
        (("Content-Type", "text/plain"), &whole[..], 415),
        (("Content-Type", "multipart/form-data"), &whole, 400),
        (multipart, b"", 400),
        (multipart, b"nonsense", 400),
        (multipart, &whole[..whole.len() - 10], 400),
        (multipart, &endless, 400),
    ] {
        let answer = site.send("POST", &path, &[content_type, same], body).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
    assert_absent(&site, &spool, &artifact, b"bytes").await;
    assert_eq!(submit(&site, &artifact, &[("other", "", b"x"), ("file", "x", b"bytes")]).await.status, 303);
}
