//! The admin site over a loopback connection: request in, answer out. The modules mirror the tree of addresses.

mod artifacts;
mod by_hand;
mod declaring_images;
mod images;
mod looking;
mod misses;
mod pages;
mod probes;
mod safety;
mod sample;
mod scrubs;
mod serving;
mod support;
mod upkeep;
mod usage;
