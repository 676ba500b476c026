//! The notary: misses, from every kind of source, under every kind of limit.

#![allow(
    clippy::unwrap_used,
    reason = "in a test a panic is the report; clippy knows only functions marked as tests"
)]

mod ahead;
mod computed;
mod go_client;
mod hanging;
mod limits;
mod reload;
mod remote;
mod routes;
mod sources;
mod world;
