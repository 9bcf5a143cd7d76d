//! A proxy on the way out, as networks have one that let nothing else through: Debian's tinyproxy.

use std::{fmt::Write, fs, path::PathBuf, process::Command};

use tempfile::TempDir;

use crate::{
    place::{free_port, program, temporary_directory},
    process::Process,
};

/// A running forward proxy. Dropping it stops it.
#[derive(Debug)]
pub struct ForwardProxy {
    port: u16,
    log: PathBuf,
    _process: Process,
    _directory: TempDir,
}

/// Starts a forward proxy; with `sign_in`, a user name and a password, only for who shows them.
///
/// # Panics
///
/// When tinyproxy is not installed or does not start.
pub async fn forward_proxy(sign_in: Option<(&str, &str)>) -> ForwardProxy {
    let (directory, port) = (temporary_directory(), free_port());
    let log = directory.path().join("log");
    let mut config = format!(
        "Port {port}\nListen 127.0.0.1\nTimeout 60\nMaxClients 50\nAllow 127.0.0.1\nLogLevel Connect\nLogFile \"{}\"\n",
        log.display()
    );
    if let Some((user, password)) = sign_in {
        writeln!(config, "BasicAuth {user} {password}").expect("writing to a String cannot fail");
    }
    let file = directory.path().join("tinyproxy.conf");
    fs::write(&file, config).expect("a fresh directory can be written to");
    let mut process = Process::spawn("tinyproxy", Command::new(program("tinyproxy")).arg("-d").arg("-c").arg(&file));
    process.wait_for_port(port).await;
    ForwardProxy { port, log, _process: process, _directory: directory }
}

impl ForwardProxy {
    /// Where it listens, as `127.0.0.1:PORT`.
    pub fn authority(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The first lines of the requests that it was sent, such as `CONNECT h.test:443 HTTP/1.1`.
    ///
    /// # Panics
    ///
    /// When its log cannot be read.
    pub fn requests(&self) -> Vec<String> {
        let log = fs::read_to_string(&self.log).expect("tinyproxy writes a log");
        let request =
            |line: &str| Some(line.split_once("Request (file descriptor ")?.1.split_once("): ")?.1.to_owned());
        log.lines().filter_map(request).collect()
    }
}
