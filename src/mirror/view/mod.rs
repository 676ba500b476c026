//! The verified view of a remote log: its heads, look-ups and tiles, and what convicts it.
//!
//! [`RemoteLog::lookup`] answers with the two lines of a module version, taken from a record that
//! is proved to be in the log under a head signed by the log's key, and consistent with every head
//! of it that was ever seen. What was proved once is answered forever from the store, with no
//! network. Bytes from the network are nothing until they are verified: they are neither stored nor
//! answered, and the URL that sent them is asked last from then on.
//!
//! | file | what | state |
//! |---|---|---|
//! | `log` | the face: everything that others may ask of a view | [`RemoteLog`] |
//! | `lookup` | look-ups and clients' tiles: who is asked, in which order | `Lookups` |
//! | `negative` | what the log said lately that it does not have | `NegativeCache` |
//! | `compare` | a head that somebody else was shown | |
//! | `advance` | the newest head, and how the attempts to reach it ended | `Advances` |
//! | `data_tiles` | records from data tiles, with patience | `DataTileReader` |
//! | `verify` | what is checked, in which order | `LogVerifier` |
//! | `tiles` | verified hashes: from memory, the store, the URLs | `TileReader` |
//! | `prove` | look-ups and proofs from the store alone | |
//! | `known` | both databases, the newest head, the stop | `KnownLog` |
//! | `misbehavior` | a signed contradiction as text and as a file | [`Misbehavior`] |
//! | `limits`, `error` | how much a log may take, what else can go wrong | |
//!
//! Each file uses only those below it.
//!
//! Architecture invariants: A head is compared and durable before anything is proved under it. The
//! heads in the store are all of one log; when a signed one is not, the log is stopped until a
//! person has looked, and the evidence stays. What was proved before is still answered to others,
//! and the notary takes nothing more from the log.
//!
//! What proves a stored record under the newest head is stored. It holds when the record comes in,
//! since it is proved under the newest head then, and each step to a newer head reads the tiles of
//! the old right edge at their new width. So a look-up is answered with the newest head, and a
//! client can verify it with no network behind us.

mod advance;
mod compare;
mod data_tiles;
mod error;
mod known;
mod limits;
mod log;
mod lookup;
mod misbehavior;
mod negative;
mod prove;
mod tiles;
mod verify;

pub(super) use advance::LATEST;
pub(crate) use advance::LogProgress;
pub(crate) use compare::HeadComparison;
pub use data_tiles::RecordsError;
pub(super) use data_tiles::{DataTileCounts, DataTileReader, PATIENCE, TileVerdict, check_edge, check_full};
pub(super) use error::Lie;
pub use error::{RemoteError, Unproven};
pub use limits::RemoteLimits;
pub use log::{RemoteLog, RemoteLogOptions};
pub use misbehavior::{EvidenceError, Misbehavior};
pub(crate) use misbehavior::{head_of, write_evidence};
pub use prove::ProvenRecord;
pub(super) use verify::{LogVerifier, NotVerified};
