//! A collector of traces, which reads OTLP by the Python classes that OpenTelemetry generates from its definition.

use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    place::{free_port, temporary_directory, tool},
    process::Process,
};

/// A running collector. Dropping it stops it.
#[derive(Debug)]
pub struct Collector {
    process: Process,
    port: u16,
    _directory: TempDir,
}

/// Starts a collector.
///
/// # Panics
///
/// When Python's `opentelemetry-proto` is not installed.
pub async fn collector() -> Collector {
    collector_at(free_port()).await
}

/// Starts a collector on this port.
///
/// # Panics
///
/// As [`collector`] does.
pub async fn collector_at(port: u16) -> Collector {
    let directory = temporary_directory();
    let script = directory.path().join("collector.py");
    std::fs::write(&script, include_str!("collector.py")).expect("a fresh directory can be written to");
    let mut command = Command::new(tool("venv/bin/python"));
    let mut process = Process::spawn("the collector", command.arg(script).arg(port.to_string()));
    process.wait_for_port(port).await;
    Collector { process, port, _directory: directory }
}

impl Collector {
    /// Where it is, without the path.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Every span that it was sent, in the order in which they came.
    ///
    /// # Panics
    ///
    /// When it printed anything else, as it does when it cannot read what it was sent.
    pub fn spans(&self) -> Vec<Value> {
        let log = self.process.log();
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        whole.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no span: {log}"))).collect()
    }
}
