//! Workers that bring declared artifacts from upstream, through a client that cannot be led astray.
//!
//! [`Workers`] lease what is due from the catalog and hand it to the [`Fetcher`](distmirror_core::Fetcher) of its kind.
//! [`FileFetcher`] and [`ImageFetcher`] ask upstream through [`UpstreamClient`], which dials only what [`AddressPolicy`] allows.
//! Every byte comes in through the [`Intake`](distmirror_core::Intake) of the core. Nothing here serves anything.

mod backoff;
mod client;
mod connect;
mod credentials;
mod error;
mod file;
mod guard;
mod headers;
mod image;
mod job;
mod metrics;
mod options;
mod outbound;
mod redirect;
mod registry;
mod resume;
mod tls;
mod transfer;
mod upkeep;
mod watch;
mod workers;

pub use crate::{
    client::{Answer, UpstreamClient},
    connect::PeerCertificate,
    credentials::Credentials,
    error::Error,
    file::{FileFetcher, FileOptions},
    guard::{AddressPolicy, Refusal, is_public},
    image::{ImageFetcher, ImageOptions},
    metrics::describe_metrics,
    options::{FetchOptions, WorkerOptions},
    outbound::OutboundProxy,
    upkeep::{RollingScrub, ScrubOptions},
    watch::{UpstreamWatch, WatchOptions},
    workers::{OnceReport, Workers},
};
