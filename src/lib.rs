//! Tallystick: a private Go checksum database.

// CORE: pure.
pub mod dirhash;
pub mod gosum;
pub mod module;
pub mod note;
pub mod tlog;
// GROUND: the outside world, each behind one narrow type.
pub mod clock;
pub mod config;
pub mod store;
pub mod upstream;
// ENGINES: what Tallystick does.
pub mod log;
pub mod mirror;
pub mod notary;
// FACES: how people and programs reach it.
pub mod cli;
// pub mod http;
