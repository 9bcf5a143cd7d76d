//! The binary: everything is in the library.

use std::process::ExitCode;

use distmirror::{cli, command, server};

fn main() -> ExitCode {
    cli::run(command::serve::perform, server::check)
}
