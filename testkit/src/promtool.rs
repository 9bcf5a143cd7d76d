//! Prometheus's own checker of metrics and rules.

use std::{
    fs::File,
    process::{Command, Stdio},
};

use crate::place::{program, temporary_directory};

/// Runs `promtool` with these arguments and this input; what it prints, as a success or a failure.
///
/// # Errors
/// What it prints when it is not content.
pub async fn promtool(arguments: &[&str], input: &str) -> Result<String, String> {
    let directory = temporary_directory();
    let file = directory.path().join("input");
    std::fs::write(&file, input).expect("a fresh directory can be written to");
    let mut command = Command::new(program("promtool"));
    command.args(arguments).stdin(File::open(&file).expect("it was just written")).stdout(Stdio::piped());
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("running a program does not panic");
    let output = output.expect("promtool can be started");
    let printed = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    if output.status.success() { Ok(printed) } else { Err(printed) }
}
