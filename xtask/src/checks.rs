//! What must hold before a test runs: format, lints, documentation, the arrows between crates, one crypto provider.

use crate::{
    arrows,
    run::{Outcome, cargo, run, step},
};

/// Runs every check in order and stops at the first that fails.
pub(crate) fn check() -> Outcome {
    step("format", || run(&mut cargo(&["fmt", "--all", "--check"])))?;
    step("lints", || run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])))?;
    step("documentation", || {
        let mut doc = cargo(&["doc", "--workspace", "--no-deps", "--locked"]);
        run(doc.env("RUSTDOCFLAGS", "-D warnings"))
    })?;
    shape()
}

/// The checks that need no compiler and take a second.
pub(crate) fn shape() -> Outcome {
    step("arrows between crates", arrows::check_arrows)?;
    step("one crypto provider", arrows::check_provider)
}
