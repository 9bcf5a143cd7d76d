//! Why a client command did not do what was asked, in words for the person at the terminal.

use std::{fmt, io};

use reqwest::StatusCode;
use serde::Deserialize;

use super::{Exit, print::printable};

/// The result of everything in a client command that can fail.
pub(super) type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a client command did not do what was asked. Displayed, it is one line, or one for each bad field.
#[derive(Debug)]
pub(super) enum Error {
    /// The command line asks for something that cannot be.
    Usage(String),
    /// Nobody answered.
    Unreachable {
        /// Who was asked.
        server: String,
        /// Why there is no answer.
        cause: String,
    },
    /// The server answered that it cannot be.
    Refused {
        /// The status.
        status: StatusCode,
        /// What it said.
        problem: Problem,
    },
    /// The answer is not one of distmirror's.
    Strange {
        /// Who answered.
        server: String,
        /// What is strange about it.
        what: String,
    },
    /// The result could not be written.
    Output(io::Error),
}

/// Problem details (RFC 9457), as far as people are told about them.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Problem {
    /// The status in words.
    title: String,
    /// What went wrong.
    detail: String,
    /// Every invalid field.
    errors: Vec<FieldProblem>,
}

#[derive(Debug, Deserialize)]
struct FieldProblem {
    field: String,
    message: String,
}

impl Error {
    /// What a failed request says. The innermost cause is the one that tells something.
    pub(super) fn unreachable(server: String, error: &reqwest::Error) -> Self {
        let mut innermost: &dyn std::error::Error = error;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        let cause = if error.is_timeout() { "no answer in time".to_owned() } else { innermost.to_string() };
        Self::Unreachable { server, cause }
    }

    /// The exit status for it.
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Unreachable { .. } | Self::Refused { .. } | Self::Strange { .. } | Self::Output(_) => Exit::Failed,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(message) => f.write_str(message),
            Self::Unreachable { server, cause } => {
                writeln!(f, "cannot reach the server at {server}: {cause}")?;
                write!(f, "is it running? set --server or DISTMIRROR_SERVER if it is elsewhere")
            }
            Self::Refused { status, problem } => {
                let lines = problem.lines();
                write!(f, "{}", if lines.is_empty() { format!("the server answered {status}") } else { lines })?;
                if *status == StatusCode::UNAUTHORIZED {
                    write!(f, "\nset --token or DISTMIRROR_TOKEN")?;
                }
                Ok(())
            }
            Self::Strange { server, what } => write!(
                f,
                "the server at {server} does not answer as distmirror does ({}): is it the admin URL?",
                printable(what)
            ),
            Self::Output(error) => write!(f, "cannot write the result: {error}"),
        }
    }
}

impl Problem {
    /// What people are told: a line for each bad field, or one for the whole. Empty if the server said nothing.
    fn lines(&self) -> String {
        let fields = self.errors.iter();
        let lines: Vec<_> = fields.map(|error| printable(&format!("{}: {}", error.field, error.message))).collect();
        match lines.is_empty() {
            true if self.detail.is_empty() => printable(&self.title),
            true => printable(&self.detail),
            false => lines.join("\n"),
        }
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}
