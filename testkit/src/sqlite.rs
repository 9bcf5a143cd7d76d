//! The program `sqlite3`, which reads a catalog without our code.

use std::{path::Path, process::Command};

use crate::place::program;

/// What `sqlite3` prints for these statements: a line for each row, columns between `|`.
///
/// # Panics
///
/// When it is not installed, or finds something wrong.
pub fn sqlite3(file: &Path, statements: &str) -> String {
    let output = Command::new(program("sqlite3")).arg("-bail").arg(file).arg(statements).output();
    let output = output.expect("sqlite3 can be started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{}: {said}", file.display());
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}
