//! The project's chores, started as `cargo xtask COMMAND`.
//!
//! `test` is the one command that proves the project: it installs what is missing, runs every check and then
//! every test. It uses the standard library only, so that it compiles in a second. What it installs is in
//! `install.rs`, what it checks in `checks.rs` and `arrows.rs`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "reporting to a person is what this program is for")]

mod arrows;
mod checks;
mod fuzz;
mod install;
mod run;
mod test_run;
mod tools;

use std::process::ExitCode;

use run::Outcome;

const HELP: &str = "\
The project's chores.

cargo xtask install                    install the servers, browsers and tools that the tests need
cargo xtask check                      format, lints, documentation, arrows between crates, one crypto provider
cargo xtask shape                      the last two of these
cargo xtask test [--quick] [FILTER...] install, check, then every test; stops at the first failure
                                       --quick: only the tests, nothing before them
                                       FILTER: run only tests whose name contains it
cargo xtask fuzz [SECONDS] [TARGET]    search for inputs that break a promise, 30 seconds for each target
cargo xtask help                       this text
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) = match arguments.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", [].as_slice()),
    };
    match dispatch(command, rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("\nxtask {command} FAILED: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: &str, rest: &[String]) -> Outcome {
    match command {
        "install" => {
            nothing_more(rest)?;
            install::install()
        }
        "check" => {
            nothing_more(rest)?;
            checks::check()
        }
        "shape" => {
            nothing_more(rest)?;
            checks::shape()
        }
        "fuzz" => fuzz::fuzz(rest),
        "test" => test_run::test(rest),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(())
        }
        unknown => Err(format!("no command `{unknown}`; `cargo xtask help` lists them")),
    }
}

/// Refuses arguments that the command would not look at.
fn nothing_more(rest: &[String]) -> Outcome {
    match rest.first() {
        None => Ok(()),
        Some(extra) => Err(format!("unexpected argument `{extra}`")),
    }
}
