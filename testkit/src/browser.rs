//! A real browser: headless Chromium, told what to do through Debian's chromedriver in the W3C WebDriver protocol.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    place::{free_port, program, temporary_directory},
    process::Process,
};

/// How long an element may take to appear.
const APPEARS_WITHIN: Duration = Duration::from_secs(20);

/// The member name that WebDriver uses for a reference to an element (W3C WebDriver, section 12.2).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// The error code of a command on an element that the page has replaced (W3C WebDriver, section 6.6).
const STALE: &str = "stale element reference";

/// Nothing of a person's browser, and nothing that calls home.
const FLAGS: [&str; 11] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-breakpad",
    "--window-size=1280,900",
];

/// A running browser with one window and an empty profile.
#[derive(Debug)]
pub struct Browser {
    client: reqwest::Client,
    session: String,
    _driver: Process,
    _chromium: Process,
    _profile: TempDir,
}

impl Browser {
    /// Starts Chromium.
    ///
    /// # Panics
    ///
    /// When Chromium or chromedriver is not installed or does not start.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts Chromium with more flags, such as `--proxy-server=...` or `--host-resolver-rules=...`.
    ///
    /// # Panics
    ///
    /// When Chromium or chromedriver is not installed or does not start.
    pub async fn start_with(more_flags: &[&str]) -> Self {
        let profile = temporary_directory();
        let debugging_port = free_port();
        // Chromium is started here and not by chromedriver, so that it ends with the test in any case.
        let mut browse = Command::new(program("chromium"));
        browse.args(FLAGS).args(more_flags).arg(format!("--remote-debugging-port={debugging_port}"));
        browse.arg(format!("--user-data-dir={}", profile.path().join("profile").display())).arg("about:blank");
        browse.env("HOME", profile.path());
        let mut chromium = Process::spawn("Chromium", &mut browse);
        chromium.wait_for_port(debugging_port).await;

        let driver_port = free_port();
        let mut drive = Command::new(program("chromedriver"));
        let mut driver = Process::spawn("chromedriver", drive.arg(format!("--port={driver_port}")));
        driver.wait_for_port(driver_port).await;

        let client = reqwest::Client::new();
        let sessions = format!("http://127.0.0.1:{driver_port}/session");
        let options = json!({ "debuggerAddress": format!("127.0.0.1:{debugging_port}") });
        let wanted = json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": options } } });
        let created = request(&client, Method::POST, &sessions, Some(wanted)).await;
        let created = created.unwrap_or_else(|error| panic!("no browser session: {error}"));
        let session = format!("{sessions}/{}", string(&created["sessionId"]));
        Self { client, session, _driver: driver, _chromium: chromium, _profile: profile }
    }

    /// Opens a page and waits until it has loaded.
    ///
    /// # Panics
    ///
    /// When it cannot be opened.
    pub async fn goto(&self, url: &str) {
        self.post("url", json!({ "url": url })).await;
    }

    /// The address of the current page.
    pub async fn url(&self) -> String {
        string(&self.read("url").await)
    }

    /// The title of the current page.
    pub async fn title(&self) -> String {
        string(&self.read("title").await)
    }

    /// The current page as HTML.
    pub async fn source(&self) -> String {
        string(&self.read("source").await)
    }

    /// Clicks the first element that the CSS selector finds, once it is there.
    ///
    /// # Panics
    ///
    /// When it does not appear or cannot be clicked.
    pub async fn click(&self, css: &str) {
        self.with_element(css, Method::POST, "click", Some(json!({}))).await;
    }

    /// Replaces what is in a field by typing.
    ///
    /// # Panics
    ///
    /// When the field does not appear or cannot be typed into.
    pub async fn type_into(&self, css: &str, text: &str) {
        self.with_element(css, Method::POST, "clear", Some(json!({}))).await;
        self.with_element(css, Method::POST, "value", Some(json!({ "text": text }))).await;
    }

    /// The visible text of the first element that the CSS selector finds, once it is there.
    ///
    /// # Panics
    ///
    /// When it does not appear.
    pub async fn text(&self, css: &str) -> String {
        string(&self.with_element(css, Method::GET, "text", None).await)
    }

    /// Whether the CSS selector finds anything now.
    pub async fn has(&self, css: &str) -> bool {
        self.find(css).await.is_ok()
    }

    /// Waits until the CSS selector finds an element; returns WebDriver's name for it.
    ///
    /// # Panics
    ///
    /// When it does not appear; the panic says which page was open.
    pub async fn wait_for(&self, css: &str) -> String {
        let started = Instant::now();
        loop {
            match self.find(css).await {
                Ok(element) => return element,
                Err(error) if started.elapsed() > APPEARS_WITHIN => {
                    panic!("no `{css}` on {} ({}): {error}", self.url().await, self.title().await)
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Runs JavaScript in the page and returns what the script returns.
    ///
    /// # Panics
    ///
    /// When the script throws.
    pub async fn run_script(&self, script: &str) -> Value {
        self.post("execute/sync", json!({ "script": script, "args": [] })).await
    }

    /// Writes what the window shows to a PNG file.
    ///
    /// # Panics
    ///
    /// When the file cannot be written.
    pub async fn screenshot(&self, path: impl AsRef<Path>) {
        let encoded = string(&self.read("screenshot").await);
        let image = BASE64_STANDARD.decode(encoded).expect("WebDriver sends images as base64");
        let path = path.as_ref();
        std::fs::write(path, image).unwrap_or_else(|error| panic!("cannot write `{}`: {error}", path.display()));
    }

    /// Does this to the first element that the CSS selector finds, once it is there; anew when the page replaced the
    /// element between finding and doing, which then did nothing.
    async fn with_element(&self, css: &str, method: Method, command: &str, body: Option<Value>) -> Value {
        loop {
            let element = self.wait_for(css).await;
            let url = format!("{}/element/{element}/{command}", self.session);
            match request(&self.client, method.clone(), &url, body.clone()).await {
                Ok(value) => return value,
                Err(error) if error.starts_with(STALE) => {}
                Err(error) => panic!("the browser refuses {command} of `{css}`: {error}"),
            }
        }
    }

    async fn find(&self, css: &str) -> Result<String, String> {
        let query = json!({ "using": "css selector", "value": css });
        let found = request(&self.client, Method::POST, &format!("{}/element", self.session), Some(query)).await?;
        Ok(string(&found[ELEMENT]))
    }

    async fn read(&self, command: &str) -> Value {
        let answer = request(&self.client, Method::GET, &format!("{}/{command}", self.session), None).await;
        answer.unwrap_or_else(|error| panic!("the browser cannot tell its {command}: {error}"))
    }

    async fn post(&self, command: &str, body: Value) -> Value {
        let answer = request(&self.client, Method::POST, &format!("{}/{command}", self.session), Some(body)).await;
        answer.unwrap_or_else(|error| panic!("the browser refuses {command}: {error}"))
    }
}

/// One WebDriver command; the error is what the driver says went wrong.
async fn request(client: &reqwest::Client, method: Method, url: &str, body: Option<Value>) -> Result<Value, String> {
    let mut request = client.request(method, url);
    if let Some(body) = &body {
        request = request.json(body);
    }
    let response = request.send().await.map_err(|error| error.to_string())?;
    let succeeded = response.status().is_success();
    let mut answer: Value = response.json().await.map_err(|error| error.to_string())?;
    let value = answer["value"].take();
    if succeeded { Ok(value) } else { Err(format!("{}: {}", string(&value["error"]), string(&value["message"]))) }
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
