//! The integration tests: one binary, one file per subject.

// A helper of a test may fail a test as the test itself may; clippy knows only functions marked #[test].
#![allow(clippy::unwrap_used)]

mod afternoon;
mod anchor;
mod attack;
mod c2sp;
mod ci;
mod cli;
mod client;
mod commands;
mod config;
mod conformance;
mod crash;
mod damage;
mod dirhash;
mod fixture;
mod gosum;
mod http;
mod mirror;
mod module;
mod notary;
mod note;
mod old_data;
mod oracle;
mod reaching;
mod reload;
mod replica;
mod sequencer;
mod support;
mod tidy;
mod tlog;
mod upstream;
mod visible;
mod witness;
