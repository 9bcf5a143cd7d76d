//! Fetching against upstreams, catalogs and processes that misbehave. One binary, because linking is what takes long.

#![expect(clippy::unwrap_used, reason = "in a test, what cannot be had ends it")]

mod file;
mod guard;
mod images;
mod outbound;
mod probing;
mod resuming;
mod support;
mod upkeep;
mod workers;
