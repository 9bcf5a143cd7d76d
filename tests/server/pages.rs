//! The pages in a real browser: what people do with them, from the first declaration to the release out of quarantine.
//!
//! Nothing here loads a page again to see what has become of something: the pages must show it by themselves.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::{Answer, Browser, Upstream};

use crate::support::{Backends, Server};

/// A server, what it fetches from, and a browser on it.
struct Stage {
    server: Server,
    upstream: Upstream,
    browser: Browser,
    folder: TempDir,
}

impl Stage {
    async fn set() -> Self {
        let upstream = Upstream::start(&["files.test"]).await;
        let server = Server::start(Backends::embedded, &upstream).await;
        let folder = TempDir::new().expect("a temporary folder");
        let log = format!("--log-file={}", folder.path().join("browser.log").display());
        let browser = Browser::start_with(&["--enable-logging", &log]).await;
        Self { server, upstream, browser, folder }
    }

    async fn open(&self, path: &str) {
        self.browser.goto(&format!("{}{path}", self.server.admin_url())).await;
    }

    /// Fills in the form and sends it.
    async fn declare(&self, fields: &[(&str, &str)]) {
        self.open("/declare").await;
        for (name, text) in fields {
            self.browser.type_into(&format!("form [name={name}]"), text).await;
        }
        self.browser.click("form[action='/declare'] button").await;
    }

    /// What this expression is in the page.
    async fn value(&self, expression: &str) -> Value {
        self.browser.run_script(&format!("return {expression};")).await
    }

    /// Waits until this expression holds in the page.
    async fn until(&self, expression: &str) {
        let until = Instant::now() + Duration::from_secs(20);
        while self.value(expression).await != json!(true) {
            assert!(Instant::now() < until, "never: {expression} on {}", self.browser.source().await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn present(&self, path: &str, bytes: &[u8]) -> Value {
        self.upstream.file(path, bytes.to_vec());
        let declared = self.server.declare(&self.upstream.url(path), None).await;
        self.server.wait_for(&declared, "present").await
    }

    /// Waits until curl gets this status through the proxy, which may remember for some seconds what was before.
    async fn curl_gets(&self, uri: &str, status: u16) {
        let until = Instant::now() + Duration::from_secs(15);
        loop {
            let output = self.server.curl(&[uri]).await;
            if output.status == status {
                return;
            }
            assert!(Instant::now() < until, "not {status}: {output:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// The address in the answer that curl gets in place of the file.
    async fn link_in_refusal(&self, uri: &str, status: u16) -> String {
        let refusal = self.server.curl(&[uri]).await;
        assert_eq!(refusal.status, status);
        let (text, site) = (refusal.text(), self.server.admin_url());
        text.split_whitespace().find(|word| word.starts_with(&site)).expect("a link").to_owned()
    }

    /// Everything that the page loaded came from the site itself.
    async fn loads_nothing_from_outside(&self) {
        let outside = "performance.getEntriesByType('resource').map((entry) => entry.name)\
                       .filter((name) => !name.startsWith(location.origin + '/'))";
        assert_eq!(self.value(outside).await, json!([]), "{}", self.browser.url().await);
    }

    /// The browser had nothing to complain about in any page: no error of a script, nothing that the policy forbids.
    fn no_complaints(&self) {
        assert_eq!(self.complaints(), Vec::<String>::new());
    }

    fn complaints(&self) -> Vec<String> {
        let log = fs::read_to_string(self.folder.path().join("browser.log")).expect("the browser keeps a log");
        log.lines().filter(|line| line.contains("CONSOLE")).map(str::to_owned).collect()
    }
}

#[tokio::test]
async fn a_file_is_declared_and_comes_in_before_ones_eyes() {
    let stage = Stage::set().await;
    stage.open("/").await;
    assert_eq!(stage.value("document.querySelectorAll('.steps > li').length").await, json!(3), "what to do first");
    let body = vec![7; 3_000_000];
    let slow = Answer::ok(body.clone()).in_pieces(50_000, Duration::from_millis(100));
    stage.upstream.on("/slow.tar.gz", move |_| slow.clone());
    let uri = stage.upstream.url("/slow.tar.gz");
    stage.declare(&[("uri", &uri), ("reason", "the release needs it"), ("project", "billing")]).await;

    stage.browser.wait_for(".badge.fetching").await;
    assert!(stage.browser.text("h1").await.contains("slow.tar.gz"));
    stage.browser.wait_for("progress[value]").await;
    let bytes = "(document.querySelector('progress')?.value ?? 0)";
    let before = stage.value(bytes).await.as_f64().expect("a number");
    stage.until(&format!("{bytes} > {before}")).await;
    stage.browser.wait_for(".badge.present").await;
    assert!(!stage.browser.has("progress").await);
    assert!(stage.browser.source().await.contains("the release needs it"));
    assert_eq!(stage.server.curl(&[&uri]).await.body, body);
    stage.no_complaints();
}

#[tokio::test]
async fn lists_and_overview_follow_by_themselves() {
    let stage = Stage::set().await;
    let slow = Answer::ok(vec![7; 1_000_000]).in_pieces(20_000, Duration::from_millis(150));
    stage.upstream.on("/slow.bin", move |_| slow.clone());
    for (path, rows) in [("/artifacts", "#artifacts"), ("/", "#overview")] {
        let uri = format!("{}?for={}", stage.upstream.url("/slow.bin"), rows.len());
        stage.server.declare(&uri, None).await;
        stage.open(path).await;
        stage.until("(window.stays = true)").await;
        stage.browser.wait_for(&format!("{rows} progress")).await;
        stage.until(&format!("!document.querySelector('{rows} progress')")).await;
        stage.browser.wait_for(&format!("{rows} .badge.present")).await;
        assert_eq!(stage.value("window.stays").await, json!(true), "{path}: only parts are replaced");
    }
    stage.no_complaints();
}

#[tokio::test]
async fn a_bad_form_keeps_what_was_typed_and_names_the_fields() {
    let stage = Stage::set().await;
    let typed = [("uri", "ftp://files.test/x"), ("reason", "  "), ("project", "billing"), ("sha256", "abc")];
    stage.declare(&typed).await;
    for field in ["uri", "reason", "sha256"] {
        let message = stage.browser.text(&format!("#{field}-errors")).await;
        assert!(!message.is_empty(), "{field}");
        assert!(
            stage.browser.has(&format!("#{field}[aria-invalid][aria-describedby~={field}-errors]")).await,
            "{field}"
        );
    }
    assert!(!stage.browser.has("#project-errors").await);
    for (field, text) in typed {
        assert_eq!(stage.value(&format!("document.getElementById('{field}').value")).await, json!(text));
    }
    assert_eq!(stage.value("document.activeElement.id").await, json!("uri"), "the first that is wrong");

    stage.upstream.file("/x", "x");
    for (field, text) in [("uri", stage.upstream.url("/x").as_str()), ("reason", "mended"), ("sha256", "")] {
        stage.browser.type_into(&format!("#{field}"), text).await;
    }
    stage.browser.click("form[action='/declare'] button").await;
    stage.browser.wait_for(".badge.present").await;
}

#[tokio::test]
async fn what_is_typed_is_looked_at_before_it_is_declared() {
    let stage = Stage::set().await;
    let page = Answer::ok("please sign in").header("content-type", "text/html");
    stage.upstream.on("/tool.tar.gz", move |_| page.clone());
    stage.upstream.file("/real.tar.gz", vec![7; 4096]);
    stage.open("/declare").await;
    stage.browser.type_into("#uri", &stage.upstream.url("/tool.tar.gz")).await;
    stage.browser.click("#reason").await;
    assert!(stage.browser.text("#looks .problem").await.contains("perhaps a login page"));
    stage.browser.type_into("#uri", &stage.upstream.url("/real.tar.gz")).await;
    stage.browser.type_into("#reason", "a look costs nothing").await;
    stage.until("document.querySelector('#looks').textContent.includes('4.0 KiB')").await;
    assert!(!stage.browser.has("#looks .problem").await, "the older look is gone");
    assert_eq!(stage.server.api(reqwest::Method::GET, "/artifacts", None).await.1["items"], json!([]));

    stage.browser.type_into("#uri", &stage.upstream.url("/gone.tar.gz")).await;
    stage.browser.click("button[name=look]").await;
    stage.browser.wait_for("#looks .problem").await;
    assert_eq!(stage.value("document.getElementById('reason').value").await, json!("a look costs nothing"));
    stage.browser.type_into("#uri", &stage.upstream.url("/real.tar.gz")).await;
    stage.browser.click("form[action='/declare'] button").await;
    stage.browser.wait_for(".badge.present").await;
    stage.no_complaints();
}

#[tokio::test]
async fn a_miss_is_seen_ticked_declared_and_served() {
    let stage = Stage::set().await;
    stage.upstream.file("/wanted.zip", "wanted");
    let uri = stage.upstream.url("/wanted.zip");
    stage.open("/misses").await;
    assert!(stage.browser.text(".empty").await.contains("Nothing was missed"));
    assert_eq!(stage.server.curl(&[&uri]).await.status, 404);
    stage.browser.click("input[name=ids]").await;
    assert!(stage.browser.source().await.contains(&uri));
    stage.browser.type_into("#reason", "the build asked for it").await;
    stage.browser.click("form[action='/misses/declare'] .action-bar button").await;
    stage.browser.wait_for(".badge.present").await;
    assert!(stage.browser.text("h1").await.contains("wanted.zip"), "it leads to the artifact");
    assert_eq!(stage.server.curl(&[&uri]).await.text(), "wanted");
    stage.open("/misses").await;
    assert!(stage.browser.text(".empty").await.contains("Nothing was missed"));
    stage.no_complaints();
}

#[tokio::test]
async fn the_link_in_a_refusal_opens_the_filled_in_form() {
    let stage = Stage::set().await;
    let uri = format!("{}?a=1&b=%20c", stage.upstream.https_url("/release/it's.zip"));
    stage.browser.goto(&stage.link_in_refusal(&uri, 404).await).await;
    assert_eq!(stage.value("document.getElementById('uri').value").await, json!(uri));
    assert_eq!(stage.value("document.activeElement.id").await, json!("reason"), "only the reason is missing");
    stage.upstream.on("/release/it's.zip", |_| Answer::new(404));
    stage.browser.type_into("#reason", "a build was refused").await;
    stage.browser.click("form[action='/declare'] button").await;
    stage.browser.wait_for(".badge.failed").await;

    stage.browser.goto(&stage.link_in_refusal(&uri, 502).await).await;
    assert!(stage.browser.has(".badge.failed").await, "what is declared is shown");
    stage.browser.click("a[href^='/declare?uri=']").await;
    stage.browser.click(".notice a").await;
    stage.browser.wait_for(".badge.failed").await;
}

#[tokio::test]
async fn many_artifacts_are_searched_and_leafed_through() {
    let stage = Stage::set().await;
    stage.upstream.otherwise(|_| Answer::ok("x"));
    for number in 0..120 {
        stage.server.declare(&stage.upstream.url(&format!("/many/{number:03}.bin")), None).await;
    }
    stage.open("/artifacts").await;
    let rows = "[...document.querySelectorAll('#artifacts .named')].map((row) => row.title)";
    let mut seen = Vec::new();
    loop {
        let page = stage.value(rows).await;
        let page = page.as_array().expect("a list");
        assert!(!page.is_empty() && page.len() <= 50, "{page:?}");
        seen.extend(page.iter().map(ToString::to_string));
        if !stage.browser.has("a[rel=next]").await {
            break;
        }
        stage.browser.click("a[rel=next]").await;
    }
    let newest_first: Vec<_> =
        (0..120).rev().map(|number| json!(stage.upstream.url(&format!("/many/{number:03}.bin"))).to_string()).collect();
    assert_eq!(seen, newest_first);

    stage.browser.type_into("#q", "many/07").await;
    stage.browser.click("form[role=search] button").await;
    stage.until(&format!("{rows}.length === 10")).await;
    assert_eq!(stage.value("document.getElementById('q').value").await, json!("many/07"));
    stage.browser.type_into("#q", "%<nothing>").await;
    stage.browser.click("form[role=search] button").await;
    assert!(stage.browser.text(".empty").await.contains("Nothing matches"));
}

#[tokio::test]
async fn the_command_lines_that_are_shown_download_the_file() {
    let stage = Stage::set().await;
    let uri = format!("{}?x=1&y=two", stage.upstream.https_url("/tools/it's-1.0.tar.gz"));
    stage.upstream.file("/tools/it's-1.0.tar.gz", "the tool");
    let declared = stage.server.declare(&uri, None).await;
    let artifact = stage.server.wait_for(&declared, "present").await;
    stage.open(&format!("/artifacts/{}", artifact["id"].as_str().expect("an id"))).await;
    for command in 1..=3 {
        let folder = TempDir::new().expect("a temporary folder");
        if command == 1 {
            shell(&folder, &stage.browser.text("#fetch-ca").await);
            let certificate = folder.path().join("distmirror-ca.pem");
            fs::rename(certificate, stage.folder.path().join("distmirror-ca.pem")).expect("moves the certificate");
        }
        let line = stage.browser.text(&format!("#command-{command}")).await;
        let certificate = stage.folder.path().join("distmirror-ca.pem").display().to_string();
        shell(&folder, &line.replace("distmirror-ca.pem", &certificate));
        let files: Vec<_> = fs::read_dir(folder.path()).expect("a folder").collect();
        let [Ok(file)] = files.as_slice() else { panic!("{line}: {files:?}") };
        assert_eq!(fs::read_to_string(file.path()).unwrap(), "the tool", "{line}");
    }
}

/// Runs a line as a person does who copied it.
fn shell(folder: &TempDir, line: &str) {
    let mut command = Command::new("sh");
    for scheme in ["http", "https", "all", "no"] {
        command.env_remove(format!("{scheme}_proxy")).env_remove(format!("{}_PROXY", scheme.to_uppercase()));
    }
    // An empty configuration in place of a person's, and loopback addresses through the proxy as any other.
    command.env("CURL_HOME", folder.path()).env("no_proxy", "").arg("-c").arg(line).current_dir(folder);
    let output = command.output().expect("there is a shell");
    assert!(output.status.success(), "{line}: {output:?}");
}

#[tokio::test]
async fn what_failed_says_what_to_do_and_comes_in_once_upstream_is_mended() {
    let stage = Stage::set().await;
    stage.upstream.on("/late.zip", |_| Answer::new(404));
    let uri = stage.upstream.url("/late.zip");
    stage.declare(&[("uri", &uri), ("reason", "it will be published")]).await;
    stage.browser.wait_for(".badge.failed").await;
    let notice = stage.browser.text(".notice.bad").await;
    assert!(notice.contains("404") && notice.contains("Look for a typing error"), "{notice}");
    stage.upstream.file("/late.zip", "late");
    stage.browser.click("form[action$='/retry'] button").await;
    stage.browser.wait_for(".badge.present").await;
    stage.curl_gets(&uri, 200).await;
    stage.no_complaints();
}

#[tokio::test]
async fn quarantine_refuses_clients_until_release() {
    let stage = Stage::set().await;
    let artifact = stage.present("/tool.jar", b"tool").await;
    let uri = stage.upstream.url("/tool.jar");
    stage.curl_gets(&uri, 200).await;
    stage.open(&format!("/artifacts/{}", artifact["id"].as_str().expect("an id"))).await;
    stage.browser.type_into("#reason", "remote code execution").await;
    stage.browser.click("form[action$='/quarantine'] button").await;
    stage.browser.wait_for(".badge.quarantined").await;
    assert!(stage.browser.text(".notice.held").await.contains("remote code execution"));
    stage.curl_gets(&uri, 403).await;
    stage.browser.type_into("#reason", "not reachable here").await;
    stage.browser.click("form[action$='/release'] button").await;
    stage.browser.wait_for(".badge.present").await;
    stage.curl_gets(&uri, 200).await;
    stage.open("/audit").await;
    for word in ["tool.jar", "quarantined", "remote code execution", "released", "not reachable here"] {
        assert!(stage.browser.text("table").await.contains(word), "{word}");
    }
    stage.no_complaints();
}

#[tokio::test]
async fn script_text_is_shown_as_text_and_never_runs() {
    let stage = Stage::set().await;
    let nasty = "</textarea><script>window.ran = 1</script><img src=x onerror=\"window.ran = 1\">{{ 7 * 7 }}";
    stage.upstream.otherwise(|_| Answer::ok("x"));
    let uri = format!("{}?q=%3Cscript%3Ewindow.ran=1%3C/script%3E'", stage.upstream.url("/a'b"));
    let body = json!({"uri": uri, "reason": nasty, "project": nasty, "license": "MIT", "ticket": nasty});
    let (status, artifact) = stage.server.api(Method::POST, "/artifacts", Some(body)).await;
    assert_eq!(status, StatusCode::CREATED, "{artifact}");
    let missed = stage.upstream.url("/%3Csvg%20onload=window.ran=1%3E");
    assert_eq!(stage.server.curl(&["-A", nasty, &missed]).await.status, 404);
    stage.open("/misses").await;
    stage.browser.wait_for("input[name=ids]").await;
    let encoded = nasty.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
    let pages = [
        format!("/artifacts/{}", artifact["id"].as_str().expect("an id")),
        "/artifacts".to_owned(),
        "/misses".to_owned(),
        "/audit".to_owned(),
        format!("/artifacts?q={encoded}"),
    ];
    for path in &pages {
        stage.open(path).await;
        let seen = stage.value("document.body.innerText + document.getElementById('q')?.value").await;
        assert!(seen.as_str().is_some_and(|text| text.contains(nasty)), "{path}: {seen}");
        assert_eq!(stage.value("window.ran ?? null").await, Value::Null, "{path}");
    }
    stage.open(&format!("/declare?uri={encoded}&reason={encoded}")).await;
    assert_eq!(stage.value("document.getElementById('reason').value").await, json!(nasty));
    assert_eq!(stage.value("window.ran ?? null").await, Value::Null);
    stage.no_complaints();
}

#[tokio::test]
async fn no_page_complains_or_loads_anything_from_outside() {
    let stage = Stage::set().await;
    let visit = async |path: &str| {
        stage.open(path).await;
        stage.loads_nothing_from_outside().await;
        let wider = "document.documentElement.scrollWidth > document.documentElement.clientWidth";
        assert_eq!(stage.value(wider).await, json!(false), "{path} is wider than the window");
    };
    let pages = ["/", "/artifacts", "/declare", "/misses", "/audit", "/setup", "/api/docs"];
    for path in pages {
        visit(path).await;
    }
    let artifact = stage.present(&format!("/{}/file.bin?{}", "long".repeat(100), "q".repeat(500)), b"x").await;
    stage.server.curl(&[&stage.upstream.url(&format!("/{}", "missed".repeat(100)))]).await;
    for path in pages {
        visit(path).await;
    }
    visit(&format!("/artifacts/{}", artifact["id"].as_str().expect("an id"))).await;
    stage.no_complaints();
    stage.open("/nowhere").await;
    assert!(stage.browser.has("main a[href='/']").await, "a way on");
    stage.browser.run_script("console.error('on purpose')").await;
    let until = Instant::now() + Duration::from_secs(10);
    while !stage.complaints().iter().any(|line| line.contains("on purpose")) {
        assert!(Instant::now() < until, "complaints would be noticed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn set_up_names_the_real_proxy_and_offers_the_certificate() {
    let stage = Stage::set().await;
    stage.open("/setup").await;
    let proxy = stage.server.proxy_url();
    for block in ["#fetch-ca", "#shell", "#curl", "#wget", "#check"] {
        assert!(stage.browser.text(block).await.contains(&proxy), "{block}");
    }
    let copies = "[...document.querySelectorAll('[data-copy]')].every((button) => !button.hidden)";
    assert_eq!(stage.value(copies).await, json!(true));
    let pem = "fetch('/ca.pem').then((answer) => answer.text())";
    assert!(stage.value(pem).await.as_str().is_some_and(|pem| pem.starts_with("-----BEGIN CERTIFICATE-----")));
    stage.browser.click("[data-copy=check]").await;
    stage.until("document.querySelector('[data-copy=check]').textContent === 'Copied'").await;
    stage.no_complaints();
}
