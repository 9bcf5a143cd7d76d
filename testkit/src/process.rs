//! A program that runs beside the test and ends with it.
//!
//! The program gets a process group of its own, so that its children can be ended with it. Ending it must not
//! depend on `Drop`, since a test can be killed: a guard (one waiting shell) holds the reading end of a pipe from
//! the test and kills the group when that pipe closes.

use std::{
    fs::File,
    net::{Ipv4Addr, SocketAddr},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tempfile::TempDir;

use crate::place::temporary_directory;

/// How long a server may take until it answers; long, since a test machine may be busy.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// How long a server may take to end when it is asked to.
const END_WITHIN: Duration = Duration::from_secs(30);

/// How much of the log a panic shows, in lines.
const LOG_TAIL_LINES: usize = 40;

/// A running program with its log. Dropping it ends it and every process it started in its group.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    guard: Child,
    stop_signal: Signal,
    ended: Option<ExitStatus>,
    log: PathBuf,
    _directory: TempDir,
}

impl Process {
    /// Starts the command; `name` is what panics call it. Its standard output and error go to one log file.
    ///
    /// # Panics
    ///
    /// When the program cannot be started.
    pub fn spawn(name: &str, command: &mut Command) -> Self {
        let directory = temporary_directory();
        let log = directory.path().join("log");
        let output = File::create(&log).expect("a log file can be made in a fresh directory");
        let errors = output.try_clone().expect("a file handle can be duplicated");
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name} ({command:?}): {error}"));
        let guard = guard_over(&child);
        Self { name: name.to_owned(), child, guard, stop_signal: Signal::KILL, ended: None, log, _directory: directory }
    }

    /// Makes `Drop` end the program with this signal first; it is killed only when that does not help.
    pub(crate) fn stopped_by(mut self, signal: Signal) -> Self {
        self.stop_signal = signal;
        self
    }

    /// Waits until somebody accepts connections on this port of 127.0.0.1.
    ///
    /// # Panics
    ///
    /// When that takes more than a minute, or the program ends; the panic shows the end of the log.
    pub async fn wait_for_port(&mut self, port: u16) {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        self.wait_until(&format!("port {port} accepts"), async || {
            tokio::net::TcpStream::connect(address).await.is_ok()
        })
        .await;
    }

    /// Waits until `ready` says so, asking every few milliseconds; `what` completes "waited until".
    ///
    /// # Panics
    ///
    /// When that takes more than a minute, or the program ends; the panic shows the end of the log.
    pub async fn wait_until(&mut self, what: &str, ready: impl AsyncFn() -> bool) {
        let started = Instant::now();
        while !ready().await {
            if let Some(status) = self.exit_status() {
                panic!("{} ended with {status} before {what}\n{}", self.name, self.log_tail());
            }
            let waited = started.elapsed();
            assert!(waited < READY_WITHIN, "{}: waited {waited:?} until {what}\n{}", self.name, self.log_tail());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Kills the program and its group at once, as a power failure would, and waits for its end.
    pub fn kill9(&mut self) {
        if self.exit_status().is_none() {
            let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
            self.ended = self.child.wait().ok();
        }
    }

    /// Asks the program to end (SIGTERM) and returns how it did.
    ///
    /// # Panics
    ///
    /// When it is still there after half a minute.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait_for_exit(END_WITHIN).unwrap_or_else(|| {
            panic!("{} did not end within {END_WITHIN:?} of SIGTERM\n{}", self.name, self.log_tail())
        })
    }

    /// Waits for the program to end by itself; `None` when the time is over first.
    pub fn wait_for_exit(&mut self, at_most: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + at_most;
        while self.exit_status().is_none() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.ended
    }

    /// How the program ended; `None` while it runs.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("the state of a child can be asked for");
        }
        self.ended
    }

    /// The process id, which is the id of its group too.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything the program has printed so far.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(LOG_TAIL_LINES)..];
        format!("--- end of the log of {}:\n{}", self.name, tail.join("\n"))
    }

    fn signal(&mut self, signal: Signal) {
        if self.exit_status().is_none() {
            let _ = kill_process(Pid::from_child(&self.child), signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The guard goes first: it must not outlive the group, whose id the system may give to another.
        let _ = self.guard.kill();
        let _ = self.guard.wait();
        if self.stop_signal != Signal::KILL {
            self.signal(self.stop_signal);
            self.wait_for_exit(Duration::from_secs(5));
        }
        self.kill9();
    }
}

/// Starts the shell that kills the group of `child` as soon as this test process is gone.
fn guard_over(child: &Child) -> Child {
    Command::new("/bin/sh")
        .args(["-c", "read -r _; kill -s KILL -- \"-$1\"", "guard", &child.id().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .expect("a shell can be started")
}

/// Runs a program that ends by itself and returns what it printed to standard output.
///
/// # Panics
///
/// When it cannot be started or fails; the panic shows all its output.
pub async fn run_to_end(mut command: Command) -> String {
    let (command, outcome) = tokio::task::spawn_blocking(move || {
        let outcome = command.stdin(Stdio::null()).output();
        (command, outcome)
    })
    .await
    .expect("running a program does not panic");
    let Output { status, stdout, stderr } = outcome.unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    let printed = String::from_utf8_lossy(&stdout).into_owned();
    assert!(status.success(), "{command:?} ended with {status}\n{printed}{}", String::from_utf8_lossy(&stderr));
    printed
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    /// The end of the test process closes the pipe just as dropping its end here does.
    #[test]
    fn the_guard_kills_the_group_when_the_pipe_closes() {
        let mut child = Command::new("sleep").arg("600").process_group(0).spawn().expect("`sleep` can be started");
        let mut guard = guard_over(&child);
        drop(guard.stdin.take());
        let status = child.wait().expect("a child can be waited for");
        assert_eq!(status.signal(), Some(Signal::KILL.as_raw()));
        assert!(guard.wait().expect("a child can be waited for").success());
    }
}
