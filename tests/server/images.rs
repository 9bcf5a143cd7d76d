//! Container images with real registries and real clients: fetched once, then pulled from the mirror by every way there is.

mod conformance;
mod decisions;
mod faces;
mod failures;
mod main_job;
mod mirror;
mod pull;
mod stage;
