//! Where things are: the tools that `cargo xtask install` installed, programs, free ports, temporary directories.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    net::TcpListener,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            fs::chown,
            net::{SocketAddr, UnixListener},
        },
    },
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
};

use tempfile::TempDir;

use crate::HOW_TO_INSTALL;

/// Ports below the range that the kernel hands out to clients, so that no outgoing connection takes one meanwhile.
const PORTS: std::ops::Range<u64> = 10_000..32_000;

/// A TCP port on 127.0.0.1 that nobody listens on and that no other test will be given while this process lives.
///
/// # Panics
///
/// When a thousand random ports in a row are taken.
pub fn free_port() -> u16 {
    /// Reservations end with the process.
    static RESERVED: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());

    for attempt in 0..1000 {
        let random = RandomState::new().hash_one(attempt);
        let port = (PORTS.start + random % (PORTS.end - PORTS.start)) as u16;
        let Some(reservation) = reserve(port) else { continue };
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            RESERVED.lock().unwrap_or_else(PoisonError::into_inner).push(reservation);
            return port;
        }
    }
    panic!("no free port in {PORTS:?}");
}

/// Tests run in many processes. Between finding a port free and a server listening on it, an abstract socket name
/// (which the kernel frees with its owner) tells the other processes that it is taken.
fn reserve(port: u16) -> Option<UnixListener> {
    let name = SocketAddr::from_abstract_name(format!("distmirror-testkit-port-{port}")).ok()?;
    UnixListener::bind_addr(&name).ok()
}

/// The directory that `cargo xtask install` installs into: `target/tools` of the workspace.
pub fn tools_dir() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let workspace = own.parent().expect("this crate is a directory of the workspace");
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    workspace.join(target).join("tools")
}

/// A program below [`tools_dir`].
pub(crate) fn tool(path: &str) -> PathBuf {
    let tool = tools_dir().join(path);
    assert!(tool.exists(), "`{}` is not installed: {HOW_TO_INSTALL}", tool.display());
    tool
}

/// A program of Debian's: on the search path, where servers are, or among the newest PostgreSQL's.
pub(crate) fn program(name: &str) -> PathBuf {
    let searched = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&searched)
        .chain(postgresql_directories())
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| panic!("`{name}` is not installed: {HOW_TO_INSTALL}"))
}

/// Debian keeps the programs of each PostgreSQL version in a directory of their own; newest first.
fn postgresql_directories() -> Vec<PathBuf> {
    let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") else { return Vec::new() };
    let mut directories: Vec<PathBuf> = versions.flatten().map(|version| version.path().join("bin")).collect();
    directories.sort();
    directories.reverse();
    directories
}

/// A fresh directory that is removed with the value.
pub(crate) fn temporary_directory() -> TempDir {
    tempfile::Builder::new().prefix("testkit-").tempdir().expect("a temporary directory can be made")
}

/// A fresh directory that belongs to this user when the test runs as root; database servers refuse to be root.
pub(crate) fn directory_of(user: &str) -> TempDir {
    let directory = temporary_directory();
    if is_root() {
        let user_id = numeric_id("-u", user);
        let group_id = numeric_id("-g", user);
        chown(directory.path(), Some(user_id), Some(group_id)).expect("root may give a directory away");
    }
    directory
}

/// A command that runs as this user when the test runs as root.
pub(crate) fn command_as(user: &str, name: &str) -> Command {
    if !is_root() {
        return Command::new(program(name));
    }
    let mut command = Command::new(program("setpriv"));
    command.args([&format!("--reuid={user}"), &format!("--regid={user}"), "--clear-groups"]).arg(program(name));
    command
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn numeric_id(which: &str, user: &str) -> u32 {
    let output = Command::new("id").args([which, user]).output().expect("`id` is part of every system");
    let printed = String::from_utf8_lossy(&output.stdout);
    printed.trim().parse().unwrap_or_else(|_| panic!("there is no user `{user}`: {HOW_TO_INSTALL}"))
}
