//! A MariaDB server of Debian's, with a data directory of its own.

use std::{
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use tempfile::TempDir;

use crate::{
    place::{directory_of, free_port, is_root, program},
    process::{Process, run_to_end},
};

/// MariaDB does not like to run as root; Debian makes this user for it.
const USER: &str = "mysql";

/// A running MariaDB server.
#[derive(Debug)]
pub struct MariaDb {
    process: Process,
    port: u16,
    databases: AtomicU32,
    _directory: TempDir,
}

/// Starts a MariaDB server whose `root` has no password, and which forgets everything when it is dropped.
///
/// # Panics
///
/// When MariaDB is not installed or does not start.
pub async fn mariadb() -> MariaDb {
    let directory = directory_of(USER);

    let mut initialise = Command::new(program("mariadb-install-db"));
    with_place(&mut initialise, &directory);
    initialise.args(["--auth-root-authentication-method=normal", "--skip-test-db"]);
    run_to_end(initialise).await;

    let port = free_port();
    let mut serve = Command::new(program("mariadbd"));
    with_place(&mut serve, &directory);
    serve.arg(format!("--socket={}", directory.path().join("socket").display()));
    serve.args(["--bind-address=127.0.0.1", &format!("--port={port}"), "--character-set-server=utf8mb4"]);
    serve.args(["--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=32M"]);
    let mut process = Process::spawn("MariaDB", &mut serve);
    process.wait_until("it answers a query", async || answers(port).await).await;
    MariaDb { process, port, databases: AtomicU32::new(0), _directory: directory }
}

impl MariaDb {
    /// The URL of the database `mysql`, which every server has.
    pub fn url(&self) -> String {
        self.url_of("mysql")
    }

    /// Creates an empty database and returns its URL.
    pub async fn fresh_database(&self) -> String {
        let name = format!("fresh_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        run_to_end(client(self.port, &format!("CREATE DATABASE {name}"))).await;
        self.url_of(&name)
    }

    /// The server process, for tests that kill it.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    fn url_of(&self, database: &str) -> String {
        format!("mysql://root@127.0.0.1:{}/{database}", self.port)
    }
}

/// Options that both the installer and the server take: no configuration of this machine, our own directory.
fn with_place(command: &mut Command, directory: &TempDir) {
    command.arg("--no-defaults").arg(format!("--datadir={}", directory.path().join("data").display()));
    if is_root() {
        command.arg(format!("--user={USER}"));
    }
}

fn client(port: u16, statement: &str) -> Command {
    let mut command = Command::new(program("mariadb"));
    command.args(["--no-defaults", "--protocol=tcp", "-h", "127.0.0.1", "-u", "root"]);
    command.args(["-P", &port.to_string(), "-e", statement]);
    command
}

async fn answers(port: u16) -> bool {
    let asked = tokio::task::spawn_blocking(move || client(port, "SELECT 1").output()).await;
    matches!(asked, Ok(Ok(output)) if output.status.success())
}
