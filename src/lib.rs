//! distmirror: own what your builds download.
//!
//! This crate is the facade for embedders and the home of the one binary. The parts stand alone: a service that embeds the
//! mirror takes [`core`] and the front ends it wants, hands them a [`Catalog`](core::Catalog) and a
//! [`BlobStore`](core::BlobStore), and needs no configuration file. [`server`] shows how they fit together.
//!
//! Only [`config`] reads files and environment variables; only [`server`] knows which backend is in use.

pub use distmirror_admin as admin;
pub use distmirror_backends as backends;
pub use distmirror_core as core;
pub use distmirror_fetch as fetch;
pub use distmirror_proxy as proxy;

pub mod cli;
pub mod command;
pub mod config;
pub mod server;
mod telemetry;
