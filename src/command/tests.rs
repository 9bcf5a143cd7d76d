//! Every client command against a server that answers by script.

use std::{
    io::{BufRead, BufReader, Read},
    net::{TcpListener, TcpStream},
    thread::{self, JoinHandle},
};

use clap::Parser;

use super::*;
use crate::cli::{Cli, Command};

/// One request that is expected, and its answer.
struct Exchange {
    request: &'static str,
    status: &'static str,
    answer: String,
}

fn exchange(request: &'static str, status: &'static str, answer: impl Into<String>) -> Exchange {
    Exchange { request, status, answer: answer.into() }
}

/// What a command did: its end, or its error as people see it, and what it printed.
#[derive(Debug)]
struct Outcome {
    end: Result<Exit, String>,
    printed: String,
    /// Head and body of each request.
    requests: Vec<String>,
}

/// Runs a command line against a server that expects exactly these requests.
fn run(line: &str, script: Vec<Exchange>) -> Outcome {
    run_words(&line.split(' ').collect::<Vec<_>>(), script)
}

/// Like [`run`], for words with spaces in them.
fn run_words(words: &[&str], script: Vec<Exchange>) -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    let answering = answer(listener, script);
    let (end, printed) = run_against(words, &server);
    Outcome { end, printed, requests: answering.join().unwrap() }
}

fn run_against(words: &[&str], server: &str) -> (Result<Exit, String>, String) {
    let all_words = [&["distmirror"], words, &["--server", server]].concat();
    let Command::Client(command) = Cli::parse_from(all_words).command else { panic!("{words:?} is not for a client") };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut printed = Vec::new();
    let end = runtime.block_on(perform(*command, &mut printed)).map_err(|error| error.to_string());
    (end, String::from_utf8(printed).unwrap())
}

fn answer(listener: TcpListener, script: Vec<Exchange>) -> JoinHandle<Vec<String>> {
    thread::spawn(move || {
        let mut requests = Vec::new();
        for Exchange { request, status, answer } in script {
            let (mut stream, _) = listener.accept().unwrap();
            let received = receive(&stream);
            assert!(received.starts_with(&format!("{request} HTTP/1.1\r\n")), "expected {request}, got {received}");
            requests.push(received);
            let length = answer.len();
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
            stream.write_all((head + &answer).as_bytes()).unwrap();
        }
        requests
    })
}

fn receive(stream: &TcpStream) -> String {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut head).unwrap(), 0, "cut off: {head}");
    }
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).unwrap();
    head + &String::from_utf8(body).unwrap()
}

/// An artifact as the API describes it; `more` overrides.
fn artifact(state: &str, more: serde_json::Value) -> serde_json::Value {
    let mut artifact = serde_json::json!({
        "id": ID, "kind": "file", "uri": "http://h/x", "state": state, "trust": "first-use", "expected": [],
        "sha256": null, "sha512": null, "blake2b": null, "size": null, "content_type": null, "declarations": [],
        "attempts": 0, "last_error": null, "next_attempt_at": null, "progress": null, "source": null,
        "quarantine_reason": null, "declared_at": "2026-01-02T03:04:05.678Z", "fetched_at": null,
    });
    artifact.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    artifact
}

fn state(state: &str) -> String {
    artifact(state, serde_json::Value::Null).to_string()
}

#[test]
fn declare_says_what_became_of_it() {
    let created = exchange("POST /api/v1/artifacts", "201 Created", state("pending"));
    let outcome = run("declare file http://h/x --reason because --project p --sha256 00 --token secret", vec![created]);
    assert_eq!(outcome.end, Ok(Exit::Done));
    assert_eq!(outcome.printed, format!("declared  {ID}  http://h/x  (pending)\n"));
    let request = &outcome.requests[0];
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("\r\nauthorization: Bearer secret\r\n"), "{head}");
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    let expected = r#"{"kind":"file","uri":"http://h/x","reason":"because","project":"p","sha256":"00"}"#;
    assert_eq!(body, serde_json::from_str::<serde_json::Value>(expected).unwrap());

    let known = exchange("POST /api/v1/artifacts", "200 OK", state("present"));
    let outcome = run("declare file http://h/x --reason because", vec![known]);
    assert_eq!(outcome.printed, format!("already declared  {ID}  http://h/x  (present)\n"));
}

#[test]
fn one_refused_uri_does_not_keep_the_others_from_being_declared() {
    let refused = r#"{"title":"x","errors":[{"field":"uri","message":"is bad"}]}"#;
    let outcome = run(
        "declare file ftp://h http://h/x --reason because --json",
        vec![
            exchange("POST /api/v1/artifacts", "422 Unprocessable Entity", refused),
            exchange("POST /api/v1/artifacts", "201 Created", state("pending")),
        ],
    );
    assert_eq!(outcome.end, Ok(Exit::Failed));
    let printed: serde_json::Value = serde_json::from_str(&outcome.printed).unwrap();
    assert_eq!(printed["id"], ID);
}

#[test]
fn a_checksum_belongs_to_one_file() {
    let (end, _) = run_against(
        &["declare", "file", "http://h/x", "http://h/y", "--reason", "r", "--sha256", "00"],
        "http://127.0.0.1:1",
    );
    assert!(end.unwrap_err().contains("a checksum belongs to one file"));
}

#[test]
fn waiting_ends_when_it_is_here() {
    let here = artifact("present", serde_json::json!({ "sha256": "ab", "size": 2048 })).to_string();
    let progress = artifact("fetching", serde_json::json!({ "progress": { "bytes": 1, "total": null } })).to_string();
    let outcome = run(
        "declare file http://h/x --reason r --wait",
        vec![
            exchange("POST /api/v1/artifacts", "201 Created", state("pending")),
            exchange(SHOW, "200 OK", progress),
            exchange(SHOW, "200 OK", here),
        ],
    );
    assert_eq!(outcome.end, Ok(Exit::Done));
    assert!(outcome.printed.ends_with("present  sha256:ab  2.00 KiB  http://h/x\n"), "{}", outcome.printed);
}

#[test]
fn waiting_for_what_fails_is_a_failure() {
    let failed = artifact("failed", serde_json::json!({ "last_error": "status 404" }));
    let outcome = run(
        "declare file http://h/x --reason r --wait --json",
        vec![
            exchange("POST /api/v1/artifacts", "201 Created", state("pending")),
            exchange(SHOW, "200 OK", failed.to_string()),
        ],
    );
    assert_eq!(outcome.end, Ok(Exit::Failed));
    let printed: serde_json::Value = serde_json::from_str(&outcome.printed).unwrap();
    assert_eq!(printed, failed);
}

#[test]
fn lists_go_on_to_the_last_page() {
    let page = |next: &str| format!(r#"{{"items":[{}],"next":{next}}}"#, state("present"));
    let script = || {
        vec![
            exchange("GET /api/v1/artifacts?state=present&q=a+b%26c&limit=200", "200 OK", page("\"next\"")),
            exchange("GET /api/v1/artifacts?state=present&q=a+b%26c&cursor=next&limit=200", "200 OK", page("null")),
        ]
    };
    let words = ["list", "--state", "present", "--search", "a b&c"];
    let outcome = run_words(&words, script());
    let line = format!("present  -     {ID}  http://h/x\n");
    assert_eq!(outcome.end, Ok(Exit::Done));
    let expected = format!("STATE    SIZE  ID                                    NAME\n{line}");
    assert_eq!(outcome.printed, expected + &line.replace("-     ", "-  "));

    let outcome = run_words(&[&words[..], &["--json"]].concat(), script());
    let printed: Vec<serde_json::Value> = serde_json::from_str(&outcome.printed).unwrap();
    assert_eq!(printed.len(), 2);
}

#[test]
fn a_limit_ends_a_list() {
    let page = format!(r#"{{"items":[{}],"next":"more"}}"#, state("present"));
    let outcome = run("list --limit 1 --json", vec![exchange("GET /api/v1/artifacts?limit=1", "200 OK", page)]);
    assert_eq!(serde_json::from_str::<Vec<serde_json::Value>>(&outcome.printed).unwrap().len(), 1);
    let empty = exchange("GET /api/v1/artifacts?limit=200", "200 OK", r#"{"items":[],"next":null}"#);
    assert_eq!(run("list --json", vec![empty]).printed, "[]\n");
}

#[test]
fn misses_are_listed_without_upsetting_the_terminal() {
    let page = r#"{"items":[{"uri":"http://h/x","count":3,"last_seen":"2026-01-02T03:04:05Z","client":"\u001b[31m"}],
                   "next":null}"#;
    let outcome = run("misses", vec![exchange("GET /api/v1/misses?limit=200", "200 OK", page)]);
    assert_eq!(
        outcome.printed,
        "COUNT  LAST SEEN                CLIENT      NAME\n3      2026-01-02 03:04:05 UTC  \\u{1b}[31m  http://h/x\n"
    );
}

#[test]
fn show_takes_an_id_or_a_uri() {
    let whole = artifact(
        "present",
        serde_json::json!({
            "size": 2048, "sha256": "ab", "fetched_at": "2026-01-02T03:04:06Z",
            "usage": { "requests": 3, "bytes": 4096, "first_used_at": "2026-01-03T03:04:05Z",
                       "last_used_at": "2026-01-05T03:04:05Z" },
            "source": { "final_url": "http://h/y", "redirects": ["http://h/x"], "peer_certificate_sha256": null },
            "declarations": [{ "who": "alice", "reason": "because", "project": "p", "license": null, "ticket": "T-1",
                               "at": "2026-01-02T03:04:05Z" }],
        }),
    )
    .to_string();
    let look_up = "GET /api/v1/artifacts/lookup?uri=http%3A%2F%2Fh%2Fx%3Fa%3Db";
    let outcome = run("show http://h/x?a=b", vec![exchange(look_up, "200 OK", whole.as_str())]);
    assert_eq!(outcome.end, Ok(Exit::Done));
    for line in [
        "state          present",
        "trust          on first use: no checksum was declared",
        "size           2.00 KiB (2048 bytes)",
        "declared       2026-01-02 03:04:05 UTC",
        "last used      2026-01-05 03:04:05 UTC (3 requests in all, 4.00 KiB sent)",
        "final URL      http://h/y",
        "redirected by  http://h/x",
        "declared by alice on 2026-01-02 03:04:05 UTC, project p, ticket T-1",
        "    because",
    ] {
        assert!(outcome.printed.lines().any(|printed| printed == line), "{line} is not in:\n{}", outcome.printed);
    }

    let outcome = run(&format!("show {ID} --json"), vec![exchange(SHOW, "200 OK", whole.as_str())]);
    let printed: serde_json::Value = serde_json::from_str(&outcome.printed).unwrap();
    assert_eq!(printed, serde_json::from_str::<serde_json::Value>(&whole).unwrap());
}

#[test]
fn decisions_are_sent_for_an_id_or_a_uri() {
    let found = || exchange("GET /api/v1/artifacts/lookup?uri=http%3A%2F%2Fh%2Fx", "200 OK", state("failed"));
    let retry = exchange(RETRY, "200 OK", state("pending"));
    let outcome = run("retry http://h/x", vec![found(), retry]);
    assert_eq!((outcome.end, outcome.printed.as_str()), (Ok(Exit::Done), "pending  http://h/x\n"));

    for (action, request) in [("quarantine", QUARANTINE), ("release", RELEASE)] {
        let decision = exchange(request, "200 OK", state("quarantined"));
        let outcome = run(&format!("{action} http://h/x --reason because"), vec![found(), decision]);
        assert_eq!(outcome.end, Ok(Exit::Done));
        assert!(outcome.requests[1].ends_with(r#"{"reason":"because"}"#), "{:?}", outcome.requests);
    }
}

#[test]
fn refusals_name_every_field() {
    let problem = r#"{"type":"about:blank","title":"Unprocessable Content","status":422,"detail":"uri: x; reason: y",
                      "errors":[{"field":"uri","message":"is bad"},{"field":"reason","message":"is missing"}]}"#;
    let outcome = run("list", vec![exchange("GET /api/v1/artifacts?limit=200", "400 Bad Request", problem)]);
    assert_eq!(outcome.end, Err("uri: is bad\nreason: is missing".to_owned()));

    let problem = r#"{"title":"Not Found","detail":"no artifact `x`","errors":[]}"#;
    let outcome = run(&format!("show {ID}"), vec![exchange(SHOW, "404 Not Found", problem)]);
    assert_eq!(outcome.end, Err("no artifact `x`".to_owned()));

    let outcome = run(&format!("show {ID}"), vec![exchange(SHOW, "401 Unauthorized", r#"{"title":"Unauthorized"}"#)]);
    assert_eq!(outcome.end, Err("Unauthorized\nset --token or DISTMIRROR_TOKEN".to_owned()));

    let outcome = run(&format!("show {ID}"), vec![exchange(SHOW, "502 Bad Gateway", "{}")]);
    assert_eq!(outcome.end, Err("the server answered 502 Bad Gateway".to_owned()));
}

#[test]
fn an_unreachable_server_is_told_in_few_words() {
    let (end, printed) = run_against(&["list"], "http://user:hunter2@127.0.0.1:1");
    let message = end.unwrap_err();
    assert!(message.starts_with("cannot reach the server at http://user@127.0.0.1:1: Connection refused"), "{message}");
    assert!(message.contains("DISTMIRROR_SERVER") && message.lines().count() == 2, "{message}");
    assert_eq!(printed, "");
}

#[test]
fn an_answer_that_is_not_ours_is_told_apart() {
    for (status, answer) in [("200 OK", "<html>"), ("200 OK", "{}"), ("302 Found", ""), ("502 Bad Gateway", "<html>")] {
        let outcome = run("list", vec![exchange("GET /api/v1/artifacts?limit=200", status, answer)]);
        let message = outcome.end.unwrap_err();
        assert!(message.contains("does not answer as distmirror does"), "{message}");
    }
}

#[test]
fn nobody_is_told_about_a_reader_who_has_gone() {
    assert_eq!(fail(&io::Error::from(ErrorKind::BrokenPipe).into()), Exit::Done);
    assert_eq!(fail(&io::Error::from(ErrorKind::StorageFull).into()), Exit::Failed);
}

const ID: &str = "0192d7c4-7a51-7000-8000-000000000000";
const SHOW: &str = "GET /api/v1/artifacts/0192d7c4-7a51-7000-8000-000000000000";
const RETRY: &str = "POST /api/v1/artifacts/0192d7c4-7a51-7000-8000-000000000000/retry";
const QUARANTINE: &str = "POST /api/v1/artifacts/0192d7c4-7a51-7000-8000-000000000000/quarantine";
const RELEASE: &str = "POST /api/v1/artifacts/0192d7c4-7a51-7000-8000-000000000000/release";

#[test]
fn looking_tells_what_there_is_and_what_to_do() {
    let looked = |advice: &str| {
        format!(
            r#"{{"uri":"http://h/x","declared":null,"held":null,"advice":[{advice}],"found":{{"status":200,"size":2048,
                "content_type":"text/html","final_url":"http://cdn/x","redirects":[],"other_host":"cdn"}}}}"#
        )
    };
    let problem = r#"{"code":"login_page","severity":"problem","message":"it is a page","remedy":"sign in"}"#;
    let request = "POST /api/v1/artifacts/preflight";
    let outcome = run("look http://h/x --sha256 ab", vec![exchange(request, "200 OK", looked(problem))]);
    assert_eq!(outcome.end, Ok(Exit::Failed));
    let expected = "http://h/x\n  200  2.00 KiB  text/html\n  from http://cdn/x\n  problem: it is a page; sign in\n";
    assert_eq!(outcome.printed, expected);
    assert!(outcome.requests[0].ends_with(r#"{"kind":"file","sha256":"ab","uri":"http://h/x"}"#), "{outcome:?}");

    let note = problem.replace("problem", "note");
    let outcome = run("look http://h/x --json", vec![exchange(request, "200 OK", looked(&note))]);
    assert_eq!(outcome.end, Ok(Exit::Done));
    let printed: serde_json::Value = serde_json::from_str(&outcome.printed).unwrap();
    assert_eq!(printed["found"]["size"], 2048);
}
