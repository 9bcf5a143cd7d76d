//! Whole flows over backends of which the N-th operation fails, for every N until a run passes in which nothing failed: the way
//! in which SQLite is tested. After each run the backends are well again, and everything that the mirror promises must hold; and
//! whoever does the same once more must end where a run without a fault ends.

// Flows, which await workers, which await fetchers, nest types deeper than the usual limit.
#![recursion_limit = "256"]
#![expect(clippy::unwrap_used, reason = "in a test, what cannot be had ends it")]

mod deciding;
mod every;
mod files;
mod images;
mod invariants;
mod repair;
mod site;
