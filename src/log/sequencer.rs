//! The only writer: takes what has arrived, makes it one durable batch, answers everybody, repeats.
//!
//! It has no timer. An idle log answers after one commit, a busy one spreads a commit over
//! thousands of records. The order of a batch is fixed, and each step is safe to stop after:
//!
//! 0. before the first batch, wait for the witnesses' answers where the log is under a [hold](super::hold)
//! 1. begin: the database must hold the head that we published last, and our epoch
//! 2. sort out what is new, present or in conflict; build the tree, sign the head; all in memory
//! 3. commit to the log's database, synced. Stop here: the log is ahead of its anchor, the next start rolls that on
//! 4. move the anchor, synced. Stop here: the head may be published, nobody has seen it yet
//! 5. where there is a [`PublishGate`], wait until it lets the head pass. Stop here: the next start does the same again
//! 6. publish in memory, then answer. Stop here: a client that got no answer asks again and is told the same number

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::checkpoint::sign_checkpoint;
use super::gate::{NotPassed, PublishGate};
use super::hold::Waited;
use super::incidents::Decisions;
use super::right_edge::RightEdge;
use super::snapshot::Snapshot;
use super::state::{ReadOnly, State};
use super::tower::Tower;
use super::{AppendError, AppendOutcome, Candidate, Conflict, IncidentReport, Receipt, SharedLog};
use crate::clock::Clock;
use crate::module::ModuleVersion;
use crate::note::{self, SignerKey};
use crate::store::anchor::AnchorWriter;
use crate::store::lock::{FREE_SPACE_FLOOR_BYTES, free_bytes};
use crate::store::{
    Append, Batch, Complete, Incident, IncidentKind, LogStore, NewRecord, StoreError, StoredHead,
    StoredRecord,
};
use crate::tlog::{Hash, RecordId, TreeHead, TreeSize};

/// Records in one commit at most: bounds memory and the time that a single look-up can wait behind
/// a bulk import.
pub(super) const MAX_BATCH_RECORDS: usize = 16_384;
/// A store may report a conflict that is none (a lost answer, a busy lock); it is believed after
/// this many tries.
const CONFLICT_TRIES: u32 = 3;

/// What the handles of a log want from its writer.
pub(super) enum Job {
    Append(Submission),
    /// Serve what was submitted before this, then end.
    Close,
}

/// Candidates and where their outcomes go.
pub(super) struct Submission {
    pub(super) candidates: Vec<Candidate>,
    pub(super) reports: Vec<IncidentReport>,
    pub(super) reply: oneshot::Sender<Result<Receipt, AppendError>>,
    /// Its place in the queue, free again when it is served.
    pub(super) place: OwnedSemaphorePermit,
}

/// The writer's thread owns this.
pub(super) struct Sequencer {
    pub(super) store: Box<dyn LogStore>,
    /// `None` for logs without a disk, in tests.
    pub(super) anchor: Option<Box<dyn AnchorWriter>>,
    pub(super) epoch: u64,
    pub(super) signers: Vec<SignerKey>,
    pub(super) clock: Clock,
    pub(super) shared: Arc<SharedLog>,
    /// Directories on whose disks there must be space.
    pub(super) disks: Vec<PathBuf>,
    /// The tree of what is committed, by the second way.
    pub(super) tower: Tower,
    /// What is committed but not published, because the anchor could not be moved or the gate is
    /// closed.
    pub(super) pending: Option<PendingHead>,
    /// What a head must pass before it is published.
    pub(super) gate: Option<Arc<dyn PublishGate>>,
    /// What was decided about incidents.
    pub(super) decisions: Decisions,
}

/// A head that is committed and not published.
pub(super) struct PendingHead {
    /// What the anchor moves from.
    pub(super) from: TreeHead,
    pub(super) snapshot: Snapshot,
    pub(super) is_anchored: bool,
}

/// Why a batch was not served.
#[derive(Debug, thiserror::Error)]
enum Halt {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The head before it, or its own, waits at the gate.
    #[error("the head of {}: {why}", .size.records())]
    Gate { size: TreeSize, why: NotPassed },
    /// Signing has ended since the batch was taken up.
    #[error("{0}")]
    Over(ReadOnly),
    /// Another program has locked the database, so that nothing was begun.
    #[error("{0}")]
    Busy(StoreError),
}

/// Says that nothing is signed any more when the writer's thread ends in a panic.
struct Alarm(Arc<SharedLog>);

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let why = "the writer ended by a mistake of this program, which its log tells".to_owned();
            self.0.turn(State::ReadOnly(ReadOnly::Stopped { why }));
        }
    }
}

impl Sequencer {
    /// Works until it is told to end.
    pub(super) fn run(mut self, mut queue: mpsc::UnboundedReceiver<Job>) {
        let _alarm = Alarm(self.shared.clone());
        while let Some(job) = queue.blocking_recv() {
            let (mut records, mut submissions, mut next) = (0, Vec::new(), Some(job));
            while let Some(job) = next {
                match job {
                    Job::Append(submission) => {
                        records += submission.candidates.len();
                        submissions.push(submission);
                    }
                    // What is in the queue by now is still served; nothing joins it.
                    Job::Close => queue.close(),
                }
                next = if records < MAX_BATCH_RECORDS { queue.try_recv().ok() } else { None };
            }
            self.serve(submissions);
        }
        // Everything acknowledged is durable. A tidy file is a courtesy, not a promise, and after a
        // failure nobody knows what is in the file: the next start reads it first.
        if matches!(&*self.shared.state.load_full(), State::Writing)
            && let Err(error) = self.store.settle()
        {
            tracing::warn!(%error, "the database was not tidied at the end");
        }
    }

    fn serve(&mut self, submissions: Vec<Submission>) {
        if submissions.is_empty() {
            return;
        }
        let Some(reason) = self.cannot_write() else { return self.write(submissions) };
        // An incident is no record: what is wrong with the log is told, and nothing is signed by
        // it.
        let is_told = matches!(reason, ReadOnly::Damaged { .. } | ReadOnly::Contradicted { .. });
        let (reports, refused): (Vec<_>, Vec<_>) =
            submissions.into_iter().partition(|submission| is_told && submission.candidates.is_empty());
        if !reports.is_empty() {
            self.write(reports);
        }
        refuse(refused.into_iter().map(|submission| submission.reply), &reason);
    }

    fn write(&mut self, submissions: Vec<Submission>) {
        let mut reports = Vec::new();
        let split = |submission: Submission| {
            let Submission { candidates, reports: more, reply, place } = submission;
            drop(place);
            reports.extend(more);
            (candidates, reply)
        };
        let (candidates, replies): (Vec<_>, Vec<_>) = submissions.into_iter().map(split).unzip();
        match self.append_surely(&candidates, &reports) {
            Ok(mut outcomes) => {
                match &*self.shared.state.load_full() {
                    State::ReadOnly(ReadOnly::Unwitnessed { .. }) => {
                        tracing::info!("there are enough cosignatures again: the log writes");
                        self.shared.turn(State::Writing);
                    }
                    State::ReadOnly(ReadOnly::Busy { .. }) => {
                        tracing::info!("the database is free again: the log writes");
                        self.shared.turn(State::Writing);
                    }
                    _ => {}
                }
                let snapshot = self.shared.snapshot();
                for (candidates, reply) in candidates.iter().zip(replies) {
                    let rest = outcomes.split_off(candidates.len());
                    let outcomes = std::mem::replace(&mut outcomes, rest);
                    // A waiter that went away has lost nothing: its records are in the log.
                    let _ = reply.send(Ok(Receipt { outcomes, snapshot: snapshot.clone() }));
                }
            }
            Err(Halt::Store(error)) => refuse(replies.into_iter(), &self.fail(&error)),
            Err(Halt::Over(reason)) => refuse(replies.into_iter(), &reason),
            Err(Halt::Gate { size, why }) => {
                let reason = ReadOnly::Unwitnessed { size: size.0, why: why.to_string() };
                refuse(replies.into_iter(), &self.wait(reason, "the log waits for its witnesses"));
            }
            Err(Halt::Busy(error)) => {
                let reason = ReadOnly::Busy { why: error.to_string() };
                refuse(replies.into_iter(), &self.wait(reason, "the log waits for its database"));
            }
        }
    }

    /// Turns read-only for a reason that passes, and says so once.
    fn wait(&self, reason: ReadOnly, what: &str) -> ReadOnly {
        if matches!(&*self.shared.state.load_full(), State::Writing) {
            tracing::error!(%reason, "{what}");
        }
        self.shared.turn(State::ReadOnly(reason.clone()));
        reason
    }

    /// Why nothing can be written now, if so. A full disk is looked at again each time.
    fn cannot_write(&mut self) -> Option<ReadOnly> {
        let was_full = match &*self.shared.state.load_full() {
            State::Writing => false,
            State::ReadOnly(ReadOnly::DiskFull { .. }) => true,
            // The gate, the database or the hold is asked again before anything else.
            State::ReadOnly(
                ReadOnly::Unwitnessed { .. } | ReadOnly::Busy { .. } | ReadOnly::Unasked { .. },
            ) => return None,
            State::ReadOnly(reason) => return Some(reason.clone()),
        };
        // A write-ahead log that grew while it was read takes space, and nothing else empties it
        // now.
        if was_full
            && let Err(error) = self.store.shrink()
            && !matches!(error, StoreError::Full)
        {
            return Some(self.fail(&error));
        }
        match self.disks.iter().find_map(|disk| disk_full(disk)) {
            Some(reason) => {
                if !was_full {
                    match &reason {
                        ReadOnly::DiskFull { .. } => {
                            tracing::error!(%reason, "the log is read-only until there is space");
                        }
                        reason => tracing::error!(%reason, "the log is read-only"),
                    }
                }
                self.shared.turn(State::ReadOnly(reason));
            }
            None => {
                if was_full {
                    tracing::info!("there is space again: the log writes");
                }
                self.shared.turn(State::Writing);
            }
        }
        full_or_none(&self.shared)
    }

    /// Decides what a failure means for what comes after it.
    fn fail(&mut self, error: &StoreError) -> ReadOnly {
        let reason = match error {
            StoreError::Full => match self.store.reload() {
                Ok(()) => {
                    self.disks.iter().find_map(|disk| disk_full(disk)).unwrap_or_else(|| ReadOnly::DiskFull {
                        path: self.disks.first().map_or_else(String::new, |disk| disk.display().to_string()),
                        free_bytes: 0,
                        floor_bytes: FREE_SPACE_FLOOR_BYTES,
                    })
                }
                Err(error) => ReadOnly::from(&error),
            },
            error => ReadOnly::from(error),
        };
        tracing::error!(%error, "the log signs nothing more");
        self.shared.turn(State::ReadOnly(reason.clone()));
        if let StoreError::Damaged { .. } = error
            && let Err(error) = self.append(&[], &[IncidentReport::damage(error)])
        {
            tracing::warn!(%error, "the damage could not be kept as an incident");
        }
        reason
    }

    /// A conflict is believed when it stays: what was committed or anchored elsewhere conflicts
    /// again.
    fn append_surely(
        &mut self,
        candidates: &[Vec<Candidate>],
        reports: &[IncidentReport],
    ) -> Result<Vec<AppendOutcome>, Halt> {
        for _ in 1..CONFLICT_TRIES {
            match self.append(candidates, reports) {
                Err(Halt::Store(StoreError::Conflict { .. })) => self.store.reload()?,
                result => return result,
            }
        }
        self.append(candidates, reports)
    }

    /// One batch, from beginning to publication. Outcomes in the order of the candidates.
    fn append(
        &mut self,
        candidates: &[Vec<Candidate>],
        reports: &[IncidentReport],
    ) -> Result<Vec<AppendOutcome>, Halt> {
        // What was found is kept whatever waits: it may be why the gate stays closed.
        let only_reports = !reports.is_empty() && candidates.iter().all(Vec::is_empty);
        if !only_reports {
            self.publish_pending()?;
            self.wait_for_witnesses()?;
        }
        let published = match &self.pending {
            Some(pending) => pending.snapshot.clone(),
            None => self.shared.snapshot(),
        };
        let at = Timestamp::from_microsecond(self.clock.now().as_microsecond())
            .expect("the clock gives valid times");
        // A head that somebody shows is judged before this commit, and may end signing, or after
        // it.
        let shared = self.shared.clone();
        let order = shared.committed.order();
        if !only_reports && let Some(reason) = shared.is_over() {
            return Err(Halt::Over(reason));
        }
        let reader = self.store.reader();
        let begun = self.store.begin(Some(&published.head.tree), self.epoch);
        let mut transaction = begun.map_err(|error| match error {
            StoreError::Busy { .. } => Halt::Busy(error),
            error => error.into(),
        })?;
        let mut sorted = sort_out(&mut *transaction, candidates.iter().flatten(), published.size().0, at)?;
        let incident = |IncidentReport { kind, detail }: IncidentReport| Incident { kind, at, detail };
        sorted.incidents.extend(reports.iter().cloned().map(incident));
        self.decisions.reopen(&mut sorted.incidents, &*reader);
        if sorted.records.is_empty() && sorted.incidents.is_empty() {
            return Ok(sorted.outcomes);
        }
        let edge = published.edge.as_deref().cloned().expect("a log without its right edge has no writer");
        let Grown { edge, tower, complete } = grow(edge, self.tower.clone(), &sorted.records)?;
        let head = (!sorted.records.is_empty()).then(|| sign_head(&edge, &self.signers, at));
        let batch = Batch { records: sorted.records, complete, head, incidents: sorted.incidents, at };
        transaction.commit(&batch)?;
        if let Some(head) = batch.head {
            self.tower = tower;
            let checkpoint = sign_checkpoint(&self.signers, head.tree);
            let (head, edge) = (Arc::new(head), Some(Arc::new(edge)));
            let from = published.head.tree;
            let snapshot = Snapshot { head, edge, checkpoint, ..published };
            shared.committed.advance(snapshot.clone());
            drop(order);
            self.pending = Some(PendingHead { from, snapshot, is_anchored: false });
            self.publish_pending()?;
        }
        Ok(sorted.outcomes)
    }

    /// Signs nothing before the witnesses were asked whether there is more of this log than this
    /// copy has.
    fn wait_for_witnesses(&self) -> Result<(), Halt> {
        match self.shared.hold.wait(|| self.shared.is_over().is_some()) {
            Waited::Released => {}
            Waited::TooLong => self.shared.release(),
            Waited::Ended => {
                let closing = || ReadOnly::Unasked { why: "the log was closed before they had".to_owned() };
                return Err(Halt::Over(self.shared.is_over().unwrap_or_else(closing)));
            }
        }
        Ok(())
    }

    /// Moves the anchor to what is committed, shows it to the gate, then publishes it. What fails
    /// is tried again before the next batch: the commit stands, and nothing can be built beside it.
    fn publish_pending(&mut self) -> Result<(), Halt> {
        let Some(PendingHead { from, snapshot, is_anchored }) = &mut self.pending else { return Ok(()) };
        let tree = &snapshot.head.tree;
        if let Some(anchor) = self.anchor.as_mut().filter(|_| !*is_anchored) {
            anchor.advance(self.epoch, from, tree, snapshot.head.signed_at).map_err(|error| match error {
                StoreError::Damaged { place, why } => {
                    let (path, why) =
                        (anchor.path().display().to_string(), format!("damaged: {place}: {why}"));
                    StoreError::Anchor { path, why }
                }
                error => error,
            })?;
        }
        *is_anchored = true;
        if let Some(gate) = &self.gate {
            gate.pass(snapshot).map_err(|why| Halt::Gate { size: tree.size, why })?;
        }
        self.shared.publish(snapshot.clone());
        self.pending = None;
        Ok(())
    }

    /// Signs the head of a log that has none yet, or publishes the one that it has.
    pub(super) fn first_head(&mut self) -> Result<(), StoreError> {
        let at = Timestamp::from_microsecond(self.clock.now().as_microsecond())
            .expect("the clock gives valid times");
        let head = sign_head(&RightEdge::default(), &self.signers, at);
        let transaction = self.store.begin(None, self.epoch)?;
        let batch =
            Batch { records: vec![], complete: Complete::default(), head: Some(head), incidents: vec![], at };
        transaction.commit(&batch)
    }
}

type Reply = oneshot::Sender<Result<Receipt, AppendError>>;

fn refuse(replies: impl Iterator<Item = Reply>, reason: &ReadOnly) {
    for reply in replies {
        let _ = reply.send(Err(AppendError::ReadOnly(reason.clone())));
    }
}

fn full_or_none(shared: &SharedLog) -> Option<ReadOnly> {
    match &*shared.state.load_full() {
        State::Writing => None,
        State::ReadOnly(reason) => Some(reason.clone()),
    }
}

fn disk_full(disk: &Path) -> Option<ReadOnly> {
    match free_bytes(disk) {
        Ok(free_bytes) if free_bytes >= FREE_SPACE_FLOOR_BYTES => None,
        Ok(free_bytes) => Some(ReadOnly::DiskFull {
            path: disk.display().to_string(),
            free_bytes,
            floor_bytes: FREE_SPACE_FLOOR_BYTES,
        }),
        Err(error) => Some(ReadOnly::from(&error)),
    }
}

/// What a batch is made of.
struct Sorted {
    outcomes: Vec<AppendOutcome>,
    records: Vec<NewRecord>,
    incidents: Vec<Incident>,
}

/// Tells new records from those that are there, in the log or earlier in the same batch.
fn sort_out<'a>(
    transaction: &mut dyn Append,
    candidates: impl Iterator<Item = &'a Candidate>,
    size: u64,
    at: Timestamp,
) -> Result<Sorted, StoreError> {
    let mut sorted = Sorted { outcomes: Vec::new(), records: Vec::new(), incidents: Vec::new() };
    let candidates: Vec<&Candidate> = candidates.collect();
    let modules: Vec<&ModuleVersion> = candidates.iter().map(|candidate| &candidate.lines.module).collect();
    let may_be_there = transaction.may_have(&modules)?;
    let mut fresh: HashMap<&ModuleVersion, u64> = HashMap::with_capacity(candidates.len());
    for (candidate, may_be_there) in candidates.into_iter().zip(may_be_there) {
        let lines = &candidate.lines;
        let standing = match fresh.get(&lines.module) {
            Some(id) => {
                let lines = sorted.records[(id - size) as usize].lines.clone();
                Some(StoredRecord { id: RecordId(*id), lines })
            }
            None if may_be_there => transaction.find(&lines.module)?,
            None => None,
        };
        sorted.outcomes.push(match standing {
            Some(standing) if standing.lines == *lines => AppendOutcome::Present(standing.id),
            Some(standing) => {
                let conflict = Conflict { standing, offered: lines.clone() };
                sorted.incidents.push(Incident {
                    kind: IncidentKind::HashConflict,
                    at,
                    detail: conflict.detail(&candidate.evidence),
                });
                AppendOutcome::Conflict(Box::new(conflict))
            }
            None => {
                let id = size + sorted.records.len() as u64;
                fresh.insert(&lines.module, id);
                let (leaf, evidence) = (candidate.leaf, candidate.evidence.clone());
                sorted.records.push(NewRecord { lines: lines.clone(), leaf, evidence });
                AppendOutcome::Appended(RecordId(id))
            }
        });
    }
    Ok(sorted)
}

/// The tree with the records of a batch.
#[derive(Debug)]
struct Grown {
    edge: RightEdge,
    tower: Tower,
    complete: Complete,
}

/// Grows the tree by both ways: the edge by the leaves as they came, the tower by the lines as they
/// will be stored. A bit that flipped in between makes the two disagree, and then nothing is
/// signed.
fn grow(mut edge: RightEdge, mut tower: Tower, records: &[NewRecord]) -> Result<Grown, StoreError> {
    let (mut complete, mut text) = (Complete::default(), String::new());
    for record in records {
        edge.push(record.leaf, &mut complete);
        text.clear();
        record.lines.push_text(&mut text);
        tower.push(0, Hash::of_record(text.as_bytes()), |_, _| {});
    }
    let (by_edge, by_tower) = (edge.tree(), tower.head());
    if by_edge == by_tower {
        return Ok(Grown { edge, tower, complete });
    }
    let place = format!("the tree of size {}", by_edge.size);
    let why = format!("its root is {} by the leaves and {} by the records", by_edge.root, by_tower.root);
    Err(StoreError::Memory { place, why })
}

fn sign_head(edge: &RightEdge, signers: &[SignerKey], at: Timestamp) -> StoredHead {
    let tree = edge.tree();
    let signers: Vec<&SignerKey> = signers.iter().collect();
    let note = note::sign(&tree.format(), &signers).expect("a tree head is a valid note text");
    StoredHead { tree, note, signed_at: at }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dirhash::H1;
    use crate::gosum::ModuleLines;
    use crate::store::Evidence;

    fn records(count: u64) -> Vec<NewRecord> {
        let record = |i: u64| {
            let module = ModuleVersion::from_parts("corp.example/a", &format!("v1.0.{i}")).unwrap();
            let lines = ModuleLines { module, zip: H1::from_bytes([1; 32]), go_mod: H1::from_bytes([2; 32]) };
            let leaf = Hash::of_record(lines.to_text().as_bytes());
            NewRecord { lines, leaf, evidence: Arc::new(Evidence::Imported { importer: "x".to_owned() }) }
        };
        (0..count).map(record).collect()
    }

    #[test]
    fn both_ways_agree_at_every_size() {
        let (mut edge, mut tower) = (RightEdge::default(), Tower::default());
        for record in records(600).chunks(7) {
            let grown = grow(edge, tower, record).unwrap();
            (edge, tower) = (grown.edge, grown.tower);
        }
        assert_eq!(edge.tree(), tower.head());
    }

    #[test]
    fn a_bit_that_flips_before_it_is_signed_is_found() {
        let flip = |hash: &Hash| {
            let mut bytes = *hash.as_bytes();
            bytes[17] ^= 0x20;
            Hash::from_bytes(bytes)
        };
        for at in [0, 1, 254, 255, 256, 299] {
            let mut batch = records(300);
            batch[at].leaf = flip(&batch[at].leaf);
            let refused = grow(RightEdge::default(), Tower::default(), &batch).unwrap_err();
            assert!(refused.to_string().contains("memory of this machine"), "{at}: {refused}");
            // Or in the lines, after the leaf was computed.
            let mut batch = records(300);
            let mut zip = *batch[at].lines.zip.as_bytes();
            zip[3] ^= 1;
            batch[at].lines.zip = H1::from_bytes(zip);
            assert!(grow(RightEdge::default(), Tower::default(), &batch).is_err(), "{at}");
        }
        // Or in the tree as it was kept from the batch before.
        let grown = grow(RightEdge::default(), Tower::default(), &records(300)).unwrap();
        let head = grown.tower.head();
        let other = grow(RightEdge::default(), Tower::default(), &records(301)[1..]).unwrap();
        assert!(grow(other.edge, grown.tower, &records(1)).is_err());
        assert!(Tower::over(&head, &[head.root]).is_err());
    }
}
