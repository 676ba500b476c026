//! Mirrors: their state, bringing them up to date, ending a stop, and what a person does with a
//! full mirror.

mod check;
mod compare;
mod copy;
mod find;
mod long;
mod status;
mod sync;

pub(crate) use check::StatsAnswer;
pub(crate) use compare::{CompareAnswer, CompareCounts, Disagreeing, PathCounts};
pub(crate) use copy::{ExportAnswer, ImportAnswer};
pub(crate) use long::{Tell, WorkProgress};
pub(crate) use status::{FullStatus, MirrorStatus, RunStatus, UrlStatus};
pub(crate) use sync::{ResumeAnswer, SyncAnswer};
