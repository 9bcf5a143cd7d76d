//! strace: what a program asks of the kernel, and a kill at one of these calls.

use std::process::Command;

use crate::place::program;

/// The same command under strace, with these arguments of strace; threads and children included.
///
/// strace itself ends as the program does, by the same signal too.
///
/// # Panics
///
/// When strace is not installed.
///
/// # Examples
///
/// ```no_run
/// use std::process::Command;
///
/// let mut command = Command::new("sync");
/// let killed = testkit::strace(&["--inject=sync:signal=SIGKILL"], &command).status().unwrap();
/// assert!(!killed.success());
/// ```
pub fn strace(arguments: &[&str], command: &Command) -> Command {
    let mut traced = Command::new(program("strace"));
    traced.args(["--follow-forks", "--quiet=all"]).args(arguments).arg("--");
    traced.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => traced.env(name, value),
            None => traced.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        traced.current_dir(folder);
    }
    traced
}
