//! Killed, or without power, at every step: nothing that was acknowledged is lost, nothing wrong is ever present, and the next
//! start goes on by itself. `docs/durability.md` says for people what is tested here.
//!
//! What a program does to its files is recorded by strace ([`trace`]) and played on a model of a disk ([`disk`]), which tells
//! what is left after each step: all of it after a kill, less after a loss of power. The product is then started on that.

mod disk;
mod full;
mod house;
mod kills;
mod migration;
mod order;
mod power;
mod sweep;
mod trace;

use std::fmt;

/// How many steps are tried out of all there are: evenly spread, the first and the last among them. All of them where
/// `DISTMIRROR_EVERY_STEP` is set, which takes minutes.
fn sample<T>(all: Vec<T>, at_most: usize) -> Vec<T> {
    let (count, is_whole) = (all.len(), std::env::var_os("DISTMIRROR_EVERY_STEP").is_some());
    if is_whole || count <= at_most {
        return all;
    }
    let chosen = |at: usize| (at * (at_most - 1)) / (count - 1) != ((at + 1) * (at_most - 1)) / (count - 1);
    all.into_iter().enumerate().filter(|(at, _)| *at == count - 1 || chosen(*at)).map(|(_, item)| item).collect()
}

/// Says what is tried now. Of a test that failed it is the last that counts.
#[expect(clippy::print_stdout, reason = "the test runner shows it when the test fails")]
fn trying(what: impl fmt::Display) {
    println!("{what}");
}
