//! Witnesses, both ways: this program as a witness of other logs, and the own log before its witnesses.
//!
//! A witness remembers the newest checkpoint of each log that it knows, and cosigns a newer one only when that is proved to have
//! grown out of it ([C2SP tlog-witness], [C2SP tlog-cosignature]). Who is shown a head with enough cosignatures knows that nobody was
//! shown another.
//!
//! ```text
//! POST <prefix>/add-checkpoint                            "old <size>", proof lines, a blank line, the checkpoint
//! GET  <prefix>/<hex SHA-256 of the origin>/checkpoint    the newest checkpoint that was cosigned
//! ```
//!
//! | file | what |
//! |---|---|
//! | `request` | the body of `add-checkpoint`, read and written |
//! | `role` | what a witness does with it |
//! | `ask` | one question of the own log to a witness, and what the answer means |
//! | `hearing` | what they must have said before the first signature of a process |
//! | `witnesses` | all of them: rounds, what is kept and shown, the gate |
//!
//! [C2SP tlog-witness]: https://c2sp.org/tlog-witness
//! [C2SP tlog-cosignature]: https://c2sp.org/tlog-cosignature

mod ask;
mod hearing;
mod request;
mod role;
mod witnesses;

pub use ask::{AskError, AskedWitness};
pub use hearing::HEARING;
pub use request::{AddCheckpoint, MAX_PROOF_LINES, MAX_REQUEST_BYTES, RequestError};
pub use role::{CosignOutcome, CosignRefusal, TrustedLog, Witness, WitnessError, origin_hash};
pub use witnesses::{LATENCY_BOUNDS, PeerFigures, WitnessPanel, Witnesses, WitnessesOptions};
