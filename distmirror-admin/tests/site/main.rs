//! The admin site over a loopback connection: request in, answer out. The modules mirror the tree of addresses.

mod artifacts;
mod misses;
mod pages;
mod probes;
mod safety;
mod serving;
mod support;
