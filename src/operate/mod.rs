//! The use cases of an operator, on a log and mirrors that are open in this process.
//!
//! The command line and the control socket are two faces of the same work: `tallystick mirror sync`
//! does it itself where no server runs, and asks the server where one does. Both call
//! [`Operations`], so a command does the same either way, and what it finds wrong becomes an
//! incident of the own log either way.
//!
//! ```text
//! cli ─▶ Session ─┬─ no server: Operations, here, under the directory's lock
//!                 └─ a server:  ControlClient ─▶ control socket ─▶ Operations, there
//! ```
//!
//! | file | what |
//! |---|---|
//! | `operations` | what is open: the mirrors, and the own log or only the place of its incidents |
//! | `refusal` | why something was not done, and what kind of reason that is |
//! | `incidents` | findings that the own log keeps, whether it is open or not; decisions about them |
//! | `lookup` | what the log says about a module version; bringing one in |
//! | `prove` | proofs of a module version as files |
//! | `reload` | replacing the configuration of a running server |
//! | `import` | many lines at once: go.sum files by their routes, record streams as they are |
//! | `mirror` | status, sync, resume; export, import; verification, statistics, comparison |
//!
//! **A sync.** `cli/mirror/sync` → the session finds no server, takes the directory's lock and opens
//! the mirrors, without the own log → `mirror/sync` here follows the run of the
//! [`Mirror`](crate::mirror::Mirror) and tells how far it is. Beside a server the session's request
//! goes through `http/control`, and the same function runs there.
//!
//! **Damage.** `mirror/check` verifies a full mirror again → each finding becomes an incident of the
//! own log: through its writer where it is open, else through its store, under the lock that the
//! session holds.
//!
//! Nothing here knows HTTP. Results derive serde, because the control socket and `--json` show the
//! same fields. Whatever takes long tells its progress to a callback or a channel, and ends when
//! its future is dropped or when nobody listens to the channel any more.

mod import;
mod incidents;
mod lookup;
mod mirror;
mod operations;
mod prove;
mod refusal;
mod reload;
pub(crate) mod text;

pub(crate) use import::{
    ClaimConflict, ClaimedModule, GoSumClaim, ImportEvent, ImportedModule, ModuleFate, RecordConflict,
    RecordsDone, check_importer,
};
pub use import::{MalformedLine, RecordParser, TrustedRecord};
pub(crate) use incidents::{DecisionAnswer, DecisionRequest, LogStateAnswer, check_reason};
pub(crate) use lookup::{LookupAnswer, PublishedHead, RecordDetails};
pub(crate) use mirror::{
    CompareAnswer, CompareCounts, Disagreeing, ExportAnswer, FullStatus, ImportAnswer, MirrorStatus,
    PathCounts, ResumeAnswer, RunStatus, StatsAnswer, SyncAnswer, Tell, UrlStatus, WorkProgress,
};
pub(crate) use operations::{IncidentStore, OpenDoor, Operations};
pub(crate) use prove::{ModuleProofError, ModuleProofs, ProofFile, ProofMaker};
pub(crate) use refusal::{Reason, Refusal};
pub(crate) use reload::{ReloadAnswer, ReloadRun, Reloading};
