//! Real servers, started on free loopback ports and stopped with the test.
//!
//! A claim about PostgreSQL is tested against PostgreSQL. Each function here starts one server of its own, waits
//! until it answers, and returns a value that stops the server and removes its files when it is dropped. Nothing
//! is shared between tests and nothing outside the temporary directory is touched.
//!
//! A component that is not installed is a panic that says so, never a skipped test: `cargo xtask install` installs
//! all of them. The one thing that cannot be had is a real Google Cloud Storage; see [`fake_gcs`].
//!
//! Container images ([`image`]) are built in memory and pushed to a [`registry()`] on loopback; skopeo, podman
//! ([`ImageClient`]) and [`containerd()`] pull them, each with storage of its own.
//!
//! Everything that waits is async and needs a Tokio runtime. [`Upstream`] runs on a thread of its own, so a test
//! that blocks does not block it.

mod authority;
mod browser;
mod collector;
mod containerd;
mod curl;
mod forward_proxy;
pub mod image;
mod image_client;
mod mariadb;
mod object_server;
mod place;
mod postgres;
mod process;
mod promtool;
mod registry;
mod relay;
mod shared_key;
mod sqlite;
mod strace;
mod upstream;

pub use browser::Browser;
pub use collector::{Collector, collector, collector_at};
pub use containerd::{Containerd, containerd};
pub use curl::{CurlOutput, curl};
pub use forward_proxy::{ForwardProxy, forward_proxy};
pub use image_client::{ClientOutput, ImageClient};
pub use mariadb::{MariaDb, mariadb};
pub use object_server::{ObjectServer, azurite, fake_gcs, garage};
pub use place::{free_port, tools_dir};
pub use postgres::{Postgres, postgres};
pub use process::{Process, run_to_end};
pub use promtool::promtool;
pub use registry::{Registry, RegistryOptions, RegistryRequest, registry, registry_at};
pub use relay::{Cuts, Relay};
pub use sqlite::sqlite3;
pub use strace::strace;
pub use upstream::{Answer, Seen, Upstream};

/// What a test panics with when a component is not there.
const HOW_TO_INSTALL: &str = "run `cargo xtask install`";
