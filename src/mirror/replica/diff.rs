//! Diff: what the own log and a replica hold of the same module paths, and every module version for
//! which they hold different lines.
//!
//! The own log takes the lines of a public module from the mirrored log, so different lines must be
//! impossible. Where there are any, one of the two logs was deceived, and a person must look.
//!
//! The own log is read record by record, and each is looked up in the replica; then the replica's
//! names are counted. The memory holds one row a path, for [`MAX_PATHS`] at most.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::stats::pass;
use crate::gosum::ModuleLines;
use crate::log::Snapshot;
use crate::module::PathPatterns;
use crate::store::replica::ReplicaReader;
use crate::store::{StoreError, StoredRecord};
use crate::tlog::{RecordId, TILE_WIDTH};

/// Paths with a row of their own; the versions of the others are counted together.
const MAX_PATHS: usize = 100_000;
/// Disagreements that are listed; the others are counted.
const MAX_DISAGREEMENTS: usize = 1_000;
/// Records of the own log that are looked up between two calls of `progress`.
const STEP: u64 = 16 * TILE_WIDTH;

/// What two logs hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReplicaDiff {
    /// By module path.
    pub(crate) paths: BTreeMap<String, PathDiff>,
    /// The same of all paths that have no row because there are too many.
    pub(crate) others: PathDiff,
    /// Module versions of which the two logs have other lines.
    pub(crate) disagreements: Vec<Disagreement>,
    /// How many of them are not listed.
    pub(crate) unlisted: u64,
}

/// Versions of a module path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PathDiff {
    /// In the own log.
    pub(crate) own: u64,
    /// In the own log and in the mirror, with the same lines.
    pub(crate) both: u64,
    /// In the mirror.
    pub(crate) mirror: u64,
    /// In both, with other lines.
    pub(crate) disagree: u64,
}

/// One module version, two sets of lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Disagreement {
    /// What the own log has, and as which record.
    pub(crate) own: (RecordId, ModuleLines),
    /// What the mirror has.
    pub(crate) mirror: (RecordId, ModuleLines),
}

/// Compares the own log with a replica; with `patterns`, only paths that match, and those too that
/// only the replica has. Blocks. `progress` gets how much of how much is done, and may end it: then
/// the result is none.
pub(crate) fn diff(
    own: &Snapshot,
    mirror: &ReplicaReader,
    patterns: Option<&PathPatterns>,
    progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<Option<ReplicaDiff>, StoreError> {
    let (mut diff, size, records) = (ReplicaDiff::default(), own.size().0, mirror.size().0);
    let total = size + records;
    for first in (0..size).step_by(STEP as usize) {
        let end = (first + STEP).min(size);
        for StoredRecord { id, lines } in own.records(first..end)? {
            if patterns.is_none_or(|patterns| patterns.matches(lines.module.path.as_str())) {
                diff.look_up(mirror, id, lines)?;
            }
        }
        if progress(end, total).is_break() {
            return Ok(None);
        }
    }
    let passed = pass(mirror, 0..records, &mut |done| progress(size + done, total), &mut |path, version| {
        if version.is_empty() {
            return;
        }
        if let Some(row) = diff.paths.get_mut(path) {
            row.mirror += 1;
        } else if patterns.is_some_and(|patterns| patterns.matches(path)) {
            diff.row(path).mirror += 1;
        }
    })?;
    Ok(passed.is_continue().then_some(diff))
}

impl ReplicaDiff {
    fn look_up(
        &mut self,
        mirror: &ReplicaReader,
        id: RecordId,
        lines: ModuleLines,
    ) -> Result<(), StoreError> {
        let found = mirror.find(&lines.module)?;
        let row = self.row(lines.module.path.as_str());
        row.own += 1;
        match found {
            None => {}
            Some(found) if found.lines == lines => row.both += 1,
            Some(found) => {
                row.disagree += 1;
                if self.disagreements.len() < MAX_DISAGREEMENTS {
                    let mirror = (found.id, found.lines);
                    self.disagreements.push(Disagreement { own: (id, lines), mirror });
                } else {
                    self.unlisted += 1;
                }
            }
        }
        Ok(())
    }

    fn row(&mut self, path: &str) -> &mut PathDiff {
        if !self.paths.contains_key(path) {
            if self.paths.len() >= MAX_PATHS {
                return &mut self.others;
            }
            self.paths.insert(path.to_owned(), PathDiff::default());
        }
        self.paths.get_mut(path).expect("it was just put there")
    }

    /// Returns the sum of all rows.
    pub(crate) fn total(&self) -> PathDiff {
        self.paths.values().chain([&self.others]).fold(PathDiff::default(), |sum, row| PathDiff {
            own: sum.own + row.own,
            both: sum.both + row.both,
            mirror: sum.mirror + row.mirror,
            disagree: sum.disagree + row.disagree,
        })
    }
}
