//! The whole server from outside: the binary, started as people start it, with real clients and real backends.

mod crash;
mod crowd;
mod deploy;
mod entrances;
mod examples;
mod guard;
mod images;
mod logs;
mod main_job;
mod metrics;
mod object_store;
mod pages;
mod proxy;
mod secrets;
mod sign_in;
mod support;
mod survival;
mod traces;
mod usage;
