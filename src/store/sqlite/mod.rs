//! The store in SQLite: one file in WAL mode, one writing connection, a few reading ones.
//!
//! `migrations/sqlite/0001_log.sql` is the layout. What is sealed lies in [`segment`]s, what is found by name is found
//! through the [`index`].

mod connection;
mod copies;
pub mod cosignatures;
mod directory;
mod errors;
mod index;
mod log_database;
mod merge;
mod observer;
pub(super) mod old_anchor;
mod packed;
mod reader;
mod readers;
mod rebuild;
pub mod remote;
pub mod replica;
mod resident;
mod rows;
mod runs;
mod schema;
mod seen_heads;
mod segment;
mod shape;
pub mod witness;
mod worker;
mod writer;

pub use directory::{DATABASE_FILE, holds_log, open_log};
pub use observer::SqliteReader;
pub use rebuild::rebuild_index;
pub use writer::SqliteStore;
