//! The notary: misses, from every kind of source, under every kind of limit.

mod ahead;
mod computed;
mod go_client;
mod limits;
mod remote;
mod routes;
mod world;
