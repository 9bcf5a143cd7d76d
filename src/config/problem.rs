//! What is wrong with a configuration, told in one line.

use std::{fmt, path::PathBuf};

/// One thing that is wrong with the configuration. Displayed, it is one line that names where, what and the remedy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigProblem {
    /// Where it was written.
    pub origin: Origin,
    /// The key, with its sections: `proxy.listen`. Empty when the trouble is with the file as a whole.
    pub key: String,
    /// What is wrong with it, and what to write instead.
    pub message: String,
}

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// In a file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// In an environment variable of this name.
    Environment(String),
    /// Nowhere: a default, or something that is missing.
    Nowhere,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::File { path, line } => write!(f, "{}:{line}: ", path.display())?,
            Origin::Environment(variable) => write!(f, "{}: ", variable.escape_debug())?,
            Origin::Nowhere => {}
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for ConfigProblem {}
