//! What is fuzzed: each module has one `check`, which takes any bytes and panics if a promise does not hold for them.
//!
//! `cargo xtask fuzz` lets libFuzzer search for such bytes. The inputs in `corpus/`, one folder for each target, are where
//! it starts from, and every `cargo xtask test` checks them. An input that broke something is kept there under a name that
//! begins with `found-`.

mod answers;
pub mod authority;
pub mod conditions;
pub mod connection;
pub mod leaf;
pub mod range;
mod served;
