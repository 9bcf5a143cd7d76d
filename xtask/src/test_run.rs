//! `cargo xtask test`: everything that must be true before a change is merged, in the order that fails fastest.

use crate::{
    checks, install,
    run::{Outcome, cargo, run, step},
};

/// Installs, checks and tests. With `--quick` only the tests run; other words are filters on test names.
pub(crate) fn test(arguments: &[String]) -> Outcome {
    let (options, filters): (Vec<&str>, Vec<&str>) =
        arguments.iter().map(String::as_str).partition(|word| word.starts_with("--"));
    if let Some(unknown) = options.iter().find(|option| **option != "--quick") {
        return Err(format!("no option `{unknown}`; `cargo xtask help` lists them"));
    }
    if options.is_empty() {
        install::install()?;
        checks::check()?;
    }
    if filters.is_empty() {
        step("examples in the documentation", || run(&mut cargo(&["test", "--doc", "--workspace", "--locked"])))?;
    }
    // Some tests run the examples as programs.
    step("examples", || run(&mut cargo(&["build", "--workspace", "--examples", "--locked"])))?;
    // No step, which would print after it: the last words are the test runner's own summary.
    println!("==> tests");
    let mut nextest = cargo(&["nextest", "run", "--workspace", "--tests", "--locked", "--no-fail-fast"]);
    run(nextest.args(filters))
}
