//! A PostgreSQL server of Debian's, with a data directory of its own.

use std::{
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    place::{command_as, directory_of, free_port, program},
    process::{Process, run_to_end},
};

/// PostgreSQL refuses to run as root; Debian makes this user for it.
const USER: &str = "postgres";

/// A running PostgreSQL server.
#[derive(Debug)]
pub struct Postgres {
    process: Process,
    port: u16,
    databases: AtomicU32,
    _directory: TempDir,
}

/// Starts a PostgreSQL server that trusts everybody on 127.0.0.1 and forgets everything when it is dropped.
///
/// # Panics
///
/// When PostgreSQL is not installed or does not start.
pub async fn postgres() -> Postgres {
    let directory = directory_of(USER);
    let data = directory.path().join("data");

    let mut initialise = command_as(USER, "initdb");
    initialise.current_dir(directory.path()).arg("-D").arg(&data);
    initialise.args(["-U", USER, "--auth=trust", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8"]);
    run_to_end(initialise).await;

    let port = free_port();
    let mut serve = command_as(USER, "postgres");
    serve.current_dir(directory.path()).arg("-D").arg(&data).arg("-k").arg(directory.path());
    serve.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-c", "fsync=off", "-c", "max_connections=200"]);
    // Its children leave the process group; only PostgreSQL itself can end them, which SIGQUIT does at once.
    let mut process = Process::spawn("PostgreSQL", &mut serve).stopped_by(Signal::QUIT);
    process.wait_until("it answers a query", async || answers(port).await).await;
    Postgres { process, port, databases: AtomicU32::new(0), _directory: directory }
}

impl Postgres {
    /// The URL of the database `postgres`, which every server has.
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    /// Creates an empty database and returns its URL.
    pub async fn fresh_database(&self) -> String {
        let name = format!("fresh_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        run_to_end(psql(self.port, &format!("CREATE DATABASE {name}"))).await;
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
        format!("postgres://{USER}@127.0.0.1:{}/{database}", self.port)
    }
}

fn psql(port: u16, statement: &str) -> Command {
    let mut command = Command::new(program("psql"));
    command.args(["--no-psqlrc", "--quiet", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", USER]);
    command.args(["-p", &port.to_string(), "-d", "postgres", "-c", statement]);
    command
}

async fn answers(port: u16) -> bool {
    let asked = tokio::task::spawn_blocking(move || psql(port, "SELECT 1").output()).await;
    matches!(asked, Ok(Ok(output)) if output.status.success())
}
