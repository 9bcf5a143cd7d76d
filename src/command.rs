//! The commands that ask a running server, through its REST API.
//!
//! Results go to standard output, everything else to standard error. With `--json`, results are the API's own JSON. A command
//! fails with few words and without a backtrace; see [`Exit`] for the status.

mod api;
mod artifact;
mod decide;
mod declare;
mod error;
mod list;
mod look;
mod print;
mod progress;
pub mod serve;
mod show;

use std::{
    fmt,
    io::{self, ErrorKind, Write},
    process::ExitCode,
};

use self::error::{Error, Result};
use crate::cli::{ClientCommand, DeclareCommand};

/// How a command ended: its exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It did what was asked.
    Done = 0,
    /// It ran, and something failed.
    Failed = 1,
    /// It could not be understood, or the configuration is wrong.
    Usage = 2,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Does a client command, and tells what went wrong.
pub fn run(command: ClientCommand) -> Exit {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(format_args!("cannot start: {error}"));
            return Exit::Failed;
        }
    };
    let mut out = io::stdout().lock();
    let done = runtime.block_on(perform(command, &mut out)).and_then(|exit| Ok(out.flush().map(|()| exit)?));
    done.unwrap_or_else(|error| fail(&error))
}

/// Prints a line of result.
pub fn say(line: impl fmt::Display) -> Exit {
    writeln!(io::stdout(), "{line}").map_or_else(|error| fail(&error.into()), |()| Exit::Done)
}

/// Prints a line for people to standard error. If nobody can read that, there is nobody left to tell.
pub fn complain(line: impl fmt::Display) {
    drop(writeln!(io::stderr(), "{line}"));
}

async fn perform(command: ClientCommand, out: &mut dyn Write) -> Result<Exit> {
    match command {
        ClientCommand::Declare { kind: DeclareCommand::File(args) } => declare::files(&args, out).await,
        ClientCommand::Declare { kind: DeclareCommand::Image(args) } => declare::images(&args, out).await,
        ClientCommand::Look(args) => look::look(&args, out).await,
        ClientCommand::List(args) => list::artifacts(&args, out).await,
        ClientCommand::Show(args) => show::artifact(&args, out).await,
        ClientCommand::Misses(args) => list::misses(&args, out).await,
        ClientCommand::Retry(args) => decide::retry(&args, out).await,
        ClientCommand::Quarantine(args) => decide::quarantine(&args, out).await,
        ClientCommand::Release(args) => decide::release(&args, out).await,
    }
}

fn fail(error: &Error) -> Exit {
    if let Error::Output(error) = error
        && error.kind() == ErrorKind::BrokenPipe
    {
        // Whoever read the output, such as `head`, has seen enough.
        return Exit::Done;
    }
    complain(error);
    error.exit()
}

#[cfg(test)]
mod tests;
