//! `cargo xtask fuzz`: libFuzzer on the stable toolchain. The compiler's coverage instrumentation is a pass of LLVM, which stable
//! can be told to run; only the sanitizers need a nightly one, and with `unsafe_code` denied they have little to find.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    run::{Captured, Outcome, capture, cargo, run, step},
    tools::{target_directory, workspace},
};

/// The programs in `fuzz/fuzz_targets`.
const TARGETS: [&str; 5] = ["authority", "range", "conditions", "leaf", "connection"];

/// What libFuzzer needs to see of each program: which edges are taken, and what is compared with what.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// How long each target runs if nothing else is said.
const SECONDS: u32 = 30;

/// Builds, then runs every target or the one that is named; stops at the first input that breaks one.
pub(crate) fn fuzz(arguments: &[String]) -> Outcome {
    let (seconds, targets) = wanted(arguments)?;
    let triple = host_triple()?;
    step("fuzz targets", || build(&triple))?;
    let programs = folder().join(&triple).join("fuzz");
    targets.iter().try_for_each(|target| step(target, || run_target(&programs, target, seconds)))
}

/// `[SECONDS] [TARGET]`
fn wanted(arguments: &[String]) -> Outcome<(u32, Vec<&'static str>)> {
    let seconds = arguments.first().and_then(|word| word.parse().ok());
    let rest = if seconds.is_some() { &arguments[1..] } else { arguments };
    let seconds = seconds.unwrap_or(SECONDS);
    match rest {
        [] => Ok((seconds, TARGETS.to_vec())),
        [name] => match TARGETS.iter().find(|target| *target == name) {
            Some(target) => Ok((seconds, vec![target])),
            None => Err(format!("no target `{name}`; there are {}", TARGETS.join(", "))),
        },
        [_, extra, ..] => Err(format!("unexpected argument `{extra}`")),
    }
}

/// With `--target` the flags are not for build scripts, which would not link with them.
fn build(triple: &str) -> Outcome {
    let mut build = cargo(&["build", "--package", "distmirror-fuzz", "--features", "libfuzzer", "--profile", "fuzz"]);
    build.args(["--bins", "--locked", "--target", triple, "--target-dir"]).arg(folder());
    run(build.env("RUSTFLAGS", COVERAGE))
}

/// New inputs that reach something new go to `target/fuzz/corpus`, where the next run starts from as well.
fn run_target(programs: &Path, target: &str, seconds: u32) -> Outcome {
    let (grown, broken) = (folder().join("corpus").join(target), folder().join("broken"));
    for folder in [&grown, &broken] {
        std::fs::create_dir_all(folder).map_err(|error| format!("cannot create `{}`: {error}", folder.display()))?;
    }
    let mut command = Command::new(programs.join(target));
    command.args([&grown, &workspace().join("fuzz/corpus").join(target)]);
    command.arg(format!("-artifact_prefix={}/{target}-", broken.display()));
    command.args([format!("-max_total_time={seconds}"), "-timeout=60".to_owned(), "-print_final_stats=1".to_owned()]);
    let answer = capture(command.env("RUST_BACKTRACE", "0"))?;
    if !answer.success {
        return Err(what_broke(target, &answer));
    }
    println!("    {} inputs tried", statistic(&answer.stderr, "number_of_executed_units"));
    Ok(())
}

/// The last words of the program, among them what did not hold and where the input is.
fn what_broke(target: &str, answer: &Captured) -> String {
    // Each line that begins with `#` is progress.
    let lines: Vec<&str> = answer.stderr.lines().filter(|line| !line.starts_with('#')).collect();
    let last = lines[lines.len().saturating_sub(40)..].join("\n");
    let input = answer.stderr.lines().find_map(|line| line.split_once("Test unit written to ").map(|(_, path)| path));
    let keep = match input {
        Some(path) => {
            format!("the input is `{path}`: mend what it breaks, and keep it as fuzz/corpus/{target}/found-...")
        }
        None => "no input was written".to_owned(),
    };
    format!("{last}\n{keep}")
}

/// A line reads `stat::NAME:   VALUE`.
fn statistic<'a>(output: &'a str, name: &str) -> &'a str {
    let value = |line: &'a str| line.strip_prefix("stat::")?.strip_prefix(name)?.strip_prefix(':');
    output.lines().find_map(value).map_or("?", str::trim)
}

/// What this machine is, in the words of the compiler.
fn host_triple() -> Outcome<String> {
    let mut compiler = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    let answer = capture(compiler.arg("-vV"))?;
    let host = answer.stdout.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "`rustc -vV` names no host".to_owned())
}

fn folder() -> PathBuf {
    target_directory().join("fuzz")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(words: &[&str]) -> Outcome<(u32, Vec<&'static str>)> {
        wanted(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn seconds_and_a_target_may_be_given() {
        assert_eq!(asked(&[]), Ok((SECONDS, TARGETS.to_vec())));
        assert_eq!(asked(&["5"]), Ok((5, TARGETS.to_vec())));
        assert_eq!(asked(&["5", "leaf"]), Ok((5, vec!["leaf"])));
        assert_eq!(asked(&["leaf"]), Ok((SECONDS, vec!["leaf"])));
        assert!(asked(&["nothing"]).is_err());
        assert!(asked(&["5", "leaf", "range"]).is_err());
    }

    #[test]
    fn every_target_has_a_program_and_a_corpus() {
        for (kind, part) in [("fuzz/fuzz_targets", ".rs"), ("fuzz/corpus", "")] {
            let mut found: Vec<String> = std::fs::read_dir(workspace().join(kind))
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap().replace(part, ""))
                .collect();
            found.sort();
            let mut targets = TARGETS.to_vec();
            targets.sort_unstable();
            assert_eq!(found, targets, "{kind}");
        }
    }

    #[test]
    fn the_path_of_what_broke_is_in_the_message() {
        let stderr = "#12\tREDUCE cov: 3\nx did not hold\nartifact_prefix='b/'; Test unit written to b/range-crash-1\nBase64: YQ==\n";
        let answer = Captured { success: false, stdout: String::new(), stderr: stderr.to_owned() };
        let message = what_broke("range", &answer);
        assert!(message.contains("x did not hold") && message.contains("`b/range-crash-1`"), "{message}");
        assert!(!message.contains("REDUCE"), "{message}");
        assert_eq!(statistic("stat::number_of_executed_units: 12\n", "number_of_executed_units"), "12");
    }
}
