//! Everything that is kept in SQLite: files in WAL mode, one writing connection each, a few reading
//! ones.
//!
//! An own log is `migrations/sqlite/0001_log.sql`. [`directory`] opens all that belongs to it,
//! [`writer`] is its writer's half, [`reader`] and [`rows`] are its readers' half, and [`observer`]
//! reads it beside another process. What is sealed lies in [`segment`]s. What is found by name is
//! found through the [`index`], which [`merge`] keeps and [`rebuild`] makes again from the records.
//!
//! [`remote`] keeps what look-ups needed of another log, [`replica`] every record of one, with the
//! same index. [`witness`] is the memory of a witness, [`cosignatures`] that of the own log's
//! witnesses, [`old_anchor`] reads the anchors of older programs.
//!
//! [`connection`] opens them all, [`schema`] proves that their tables are those that the migrations
//! make, [`copies`] compares rows that are kept twice, and [`errors`] says in the words of
//! [`StoreError`](super::StoreError) what SQLite said.

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

pub(crate) use directory::holds_log;
pub use directory::{DATABASE_FILE, open_log};
pub use observer::SqliteReader;
pub use rebuild::rebuild_index;
pub use writer::SqliteStore;
