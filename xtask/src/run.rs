//! Running programs and telling how it went: steps with a headline and a duration, commands that fail loudly.

use std::{
    process::{Command, Stdio},
    time::Instant,
};

/// `Err` holds one line (or a program's output) that says what went wrong.
pub(crate) type Outcome<T = ()> = Result<T, String>;

/// Runs one named step; prints its headline before and the seconds it took after.
pub(crate) fn step(headline: &str, work: impl FnOnce() -> Outcome) -> Outcome {
    println!("==> {headline}");
    let started = Instant::now();
    let outcome = work();
    let seconds = started.elapsed().as_secs_f64();
    match outcome {
        Ok(()) => {
            println!("    ok, {seconds:.1} s");
            Ok(())
        }
        Err(failure) => Err(format!("{headline} (after {seconds:.1} s): {failure}")),
    }
}

/// A command for `cargo`: the one that started this program, so that the toolchain is the same.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments);
    command
}

/// Runs with the output going straight to the terminal.
pub(crate) fn run(command: &mut Command) -> Outcome {
    let status = command.status().map_err(|error| cannot_start(command, &error))?;
    if status.success() { Ok(()) } else { Err(format!("`{}` ended with {status}", shown(command))) }
}

/// Runs without showing anything; on failure the whole output is in the error.
pub(crate) fn run_quietly(command: &mut Command) -> Outcome {
    let captured = capture(command)?;
    if captured.success {
        return Ok(());
    }
    Err(format!("`{}` failed\n{}{}", shown(command), captured.stdout, captured.stderr))
}

/// What a finished program left.
pub(crate) struct Captured {
    pub(crate) success: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs to the end and returns what was printed; only a program that cannot be started is an error.
pub(crate) fn capture(command: &mut Command) -> Outcome<Captured> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| cannot_start(command, &error))?;
    Ok(Captured {
        success: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

fn cannot_start(command: &Command, error: &std::io::Error) -> String {
    format!("cannot start `{}`: {error}", shown(command))
}

/// The command as a person would type it (without quoting).
fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
