//! The real curl, as a client that has no part in our code.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use crate::place::{program, temporary_directory};

/// What curl did.
#[derive(Debug, Clone)]
pub struct CurlOutput {
    /// curl's exit code: 0 for any complete answer, 18 for a body that ended early, 60 for an untrusted certificate.
    pub exit: i32,
    /// The status of the last answer; 0 when there was none.
    pub status: u16,
    /// Headers of the last answer, names in lower case, in the order they came.
    pub headers: Vec<(String, String)>,
    /// The body as far as it came.
    pub body: Vec<u8>,
    /// What curl complained about.
    pub stderr: String,
}

impl CurlOutput {
    /// The first header of this name (in lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Runs curl with these arguments, without its configuration file and without a proxy from the environment.
///
/// # Panics
///
/// When curl is not installed.
///
/// # Examples
///
/// ```no_run
/// # async fn example() {
/// let output = testkit::curl(&["--range", "0-9", "http://127.0.0.1:20001/file"]).await;
/// assert_eq!((output.exit, output.status), (0, 206));
/// # }
/// ```
pub async fn curl(arguments: &[&str]) -> CurlOutput {
    let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    tokio::task::spawn_blocking(move || run(&arguments)).await.expect("running curl does not panic")
}

fn run(arguments: &[String]) -> CurlOutput {
    let directory = temporary_directory();
    let headers = directory.path().join("headers");
    let body = directory.path().join("body");
    let output =
        command(&headers, &body).args(arguments).output().unwrap_or_else(|error| panic!("cannot start curl: {error}"));
    CurlOutput {
        exit: output.status.code().unwrap_or(-1),
        status: String::from_utf8_lossy(&output.stdout).trim().parse().unwrap_or(0),
        headers: last_headers(&String::from_utf8_lossy(&std::fs::read(headers).unwrap_or_default())),
        body: std::fs::read(body).unwrap_or_default(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn command(headers: &Path, body: &Path) -> Command {
    let mut command = Command::new(program("curl"));
    // `--disable` counts only as the first argument.
    command.args(["--disable", "--silent", "--show-error", "--max-time", "60", "--suppress-connect-headers"]);
    command.args(["--write-out", "%{http_code}", "--dump-header"]).arg(headers).arg("--output").arg(body);
    for scheme in ["http", "https", "all", "no"] {
        command.env_remove(format!("{scheme}_proxy")).env_remove(format!("{}_PROXY", scheme.to_uppercase()));
    }
    command.stdin(Stdio::null());
    command
}

/// Redirects and `100 Continue` put several header blocks into the file; each begins with its status line.
fn last_headers(dump: &str) -> Vec<(String, String)> {
    let mut headers = Vec::new();
    for line in dump.lines() {
        if line.starts_with("HTTP/") {
            headers.clear();
        } else if let Some((name, value)) = line.split_once(':') {
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_block_counts() {
        let dump = "HTTP/1.1 302 Found\r\nLocation: /b\r\n\r\nHTTP/2 200 \r\nETag: \"1:2\"\r\n\r\n";
        assert_eq!(last_headers(dump), [("etag".to_owned(), "\"1:2\"".to_owned())]);
    }
}
