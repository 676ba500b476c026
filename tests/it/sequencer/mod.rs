//! The only writer: who is answered what, what is written together, and what stops it.

mod failures;
mod interleavings;
mod tiles;

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex};

use tallystick::log::{AppendOutcome, Candidate, Conditions, Log, Receipt, Snapshot, State};
use tallystick::store::memory::{Disk, MemoryStore};
use tallystick::store::{Append, Identity, LogParts, LogReader, LogStore, StoreError, StoredHead};
use tallystick::tlog::{
    RecordId, TreeHead, TreeSize, prove_consistency, prove_inclusion, verify_consistency, verify_inclusion,
};

use crate::support::logs::{
    candidate, candidates, clock, identity_of, imported, lines, lines_with, module, open_log, signer,
};

/// A log over a disk in memory.
fn over(disk: &Disk) -> Log {
    let store = MemoryStore::open(disk, Some(&identity_of(&signer()))).unwrap();
    Log::open(LogParts::only(Box::new(store)), vec![signer()], clock(), Conditions::default()).unwrap()
}

fn variant(i: u64, variant: u64) -> Candidate {
    Candidate::new(lines_with(i, variant), imported())
}

fn id_of(outcome: &AppendOutcome) -> u64 {
    match outcome {
        AppendOutcome::Appended(id) | AppendOutcome::Present(id) => id.0,
        AppendOutcome::Conflict(conflict) => panic!("{conflict:?}"),
    }
}

fn head_sizes(snapshot: &Snapshot) -> Vec<u64> {
    let heads = snapshot.heads(TreeSize(u64::MAX), 100_000).unwrap();
    heads.iter().rev().map(|head| head.tree.size.0).collect()
}

/// The receipt's snapshot has every record that it names, under a signed head that contains them, with proofs.
fn check_receipt(log: &Log, receipt: &Receipt, offered: &[u64]) {
    let snapshot = &receipt.snapshot;
    let head = snapshot.head();
    let note = tallystick::note::open(head.note.as_bytes(), &[&log.verifier()]).unwrap();
    assert_eq!(TreeHead::parse(&note.text).unwrap(), head.tree);
    assert_eq!(receipt.outcomes.len(), offered.len());
    for (outcome, i) in receipt.outcomes.iter().zip(offered) {
        let id = RecordId(id_of(outcome));
        assert!(id.0 < snapshot.size().0, "record {id} under a head of {}", snapshot.size());
        assert_eq!(snapshot.record(id).unwrap().unwrap().lines, lines(*i));
        assert_eq!(snapshot.find(&module(*i)).unwrap().unwrap().id, id);
        let indexes = tallystick::tlog::inclusion_proof_indexes(head.tree.size, id).unwrap();
        let proof = prove_inclusion(head.tree.size, id, &snapshot.hashes(&indexes).unwrap()).unwrap();
        let leaf = tallystick::tlog::Hash::of_record(lines(*i).to_text().as_bytes());
        verify_inclusion(&proof, head.tree.size, &head.tree.root, id, &leaf).unwrap();
    }
}

/// A gate that the writer stands at before each batch.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn set(&self, open: bool) {
        *self.0.0.lock().unwrap() = open;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        drop(self.0.1.wait_while(self.0.0.lock().unwrap(), |open| !*open).unwrap());
    }
}

/// Who takes part in each batch of a store.
trait Attend: Send {
    /// Before the batch begins.
    fn before(&self) {}

    /// Takes the place of the batch that has begun.
    fn attend<'a>(&self, batch: Box<dyn Append + 'a>) -> Box<dyn Append + 'a> {
        batch
    }
}

impl Attend for Gate {
    fn before(&self) {
        self.pass();
    }
}

/// A store each of whose batches somebody attends.
struct Attended<A> {
    store: Box<dyn LogStore>,
    by: A,
}

impl<A: Attend> LogStore for Attended<A> {
    fn shrink(&mut self) -> Result<(), StoreError> {
        self.store.shrink()
    }

    fn identity(&self) -> &Identity {
        self.store.identity()
    }
    fn claim(&mut self, epoch: u64) -> Result<(), StoreError> {
        self.store.claim(epoch)
    }
    fn epoch(&mut self) -> Result<u64, StoreError> {
        self.store.epoch()
    }
    fn newest(&mut self) -> Result<Option<StoredHead>, StoreError> {
        self.store.newest()
    }
    fn begin(&mut self, expected: Option<&TreeHead>, epoch: u64) -> Result<Box<dyn Append + '_>, StoreError> {
        self.by.before();
        let batch = self.store.begin(expected, epoch)?;
        Ok(self.by.attend(batch))
    }
    fn reload(&mut self) -> Result<(), StoreError> {
        self.store.reload()
    }
    fn reader(&self) -> Arc<dyn LogReader> {
        self.store.reader()
    }
    fn settle(&mut self) -> Result<(), StoreError> {
        self.store.settle()
    }
}

fn gated(disk: &Disk) -> (Log, Gate) {
    let gate = Gate::default();
    gate.set(true);
    let store = MemoryStore::open(disk, Some(&identity_of(&signer()))).unwrap();
    let store = Attended { store: Box::new(store), by: gate.clone() };
    (
        Log::open(LogParts::only(Box::new(store)), vec![signer()], clock(), Conditions::default()).unwrap(),
        gate,
    )
}

#[tokio::test]
async fn what_arrives_together_is_committed_together() {
    let (log, gate) = gated(&Disk::default());
    gate.set(false);
    let waiters: Vec<_> = (0..100)
        .map(|i| {
            tokio::spawn({
                let log = log.clone();
                async move { log.append(vec![candidate(i)]).await }
            })
        })
        .collect();
    // This runtime has one thread, and a task that yields goes to the end of its queue: after this every task has submitted
    // and waits. More than once, because the runtime gives each turn a budget.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    gate.set(true);
    for (i, waiter) in waiters.into_iter().enumerate() {
        let receipt = waiter.await.unwrap().unwrap();
        assert!(matches!(receipt.outcomes[..], [AppendOutcome::Appended(_)]));
        check_receipt(&log, &receipt, &[i as u64]);
    }
    // The empty tree, what the writer took before the others came, and all the others.
    let sizes = head_sizes(&log.snapshot());
    assert!(sizes.len() <= 3 && sizes.last() == Some(&100), "{sizes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_waiter_gets_its_number_and_a_head_that_contains_it() {
    let directory = tempfile::tempdir().unwrap();
    let log = open_log(directory.path()).unwrap();
    let mut watch = log.watch();
    let waiters: Vec<_> = (0..64_u64)
        .map(|task| {
            let log = log.clone();
            tokio::spawn(async move {
                for round in 0..4 {
                    let offered: Vec<u64> = (0..=task % 3).map(|i| task * 100 + round * 10 + i).collect();
                    let receipt = log.append(offered.iter().map(|i| candidate(*i)).collect()).await.unwrap();
                    assert!(
                        receipt.outcomes.iter().all(|outcome| matches!(outcome, AppendOutcome::Appended(_)))
                    );
                    check_receipt(&log, &receipt, &offered);
                }
            })
        })
        .collect();
    for waiter in waiters {
        waiter.await.unwrap();
    }
    let snapshot = log.snapshot();
    assert_eq!(snapshot.size(), TreeSize(4 * (22 + 2 * 21 + 3 * 21)));
    assert_eq!(*watch.borrow_and_update(), snapshot.size());
    // Every head that was ever signed is consistent with the one before it.
    let sizes = head_sizes(&snapshot);
    assert!(sizes.len() < 256, "{} heads for 256 appends", sizes.len());
    for pair in sizes.windows(2).filter(|pair| pair[0] > 0) {
        let [old, new] =
            [pair[0], pair[1]].map(|size| snapshot.head_at(TreeSize(size)).unwrap().unwrap().tree);
        let indexes = tallystick::tlog::consistency_proof_indexes(new.size, old.size).unwrap();
        let proof = prove_consistency(new.size, old.size, &snapshot.hashes(&indexes).unwrap()).unwrap();
        verify_consistency(&proof, new.size, &new.root, old.size, &old.root).unwrap();
    }
}

#[tokio::test]
async fn the_head_of_the_empty_tree_is_signed_when_a_log_is_created() {
    let log = over(&Disk::default());
    let expected = TreeHead { size: TreeSize(0), root: tallystick::tlog::Hash::EMPTY_TREE };
    assert_eq!(log.snapshot().head().tree, expected);
    let note = log.snapshot().head().note.clone();
    assert!(
        note.starts_with("go.sum database tree\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n— "),
        "{note}"
    );
    tallystick::note::open(note.as_bytes(), &[&log.verifier()]).unwrap();
}

#[tokio::test]
async fn the_same_record_again_has_the_same_number() {
    let log = over(&Disk::default());
    let first = log.append(candidates(0..5)).await.unwrap();
    let note = first.snapshot.head().note.clone();
    let again = log.append(vec![candidate(3), candidate(0), candidate(3)]).await.unwrap();
    assert!(again.outcomes.iter().all(|outcome| matches!(outcome, AppendOutcome::Present(_))));
    assert_eq!(again.outcomes.iter().map(id_of).collect::<Vec<_>>(), [3, 0, 3]);
    assert_eq!(again.snapshot.head().note, note, "nothing new, no new head");
    // In one batch.
    let twice = log.append(vec![candidate(7), candidate(7), candidate(8)]).await.unwrap();
    assert!(matches!(
        twice.outcomes[..],
        [
            AppendOutcome::Appended(RecordId(5)),
            AppendOutcome::Present(RecordId(5)),
            AppendOutcome::Appended(RecordId(6))
        ]
    ));
    assert!(log.append(vec![]).await.unwrap().outcomes.is_empty());
    assert_eq!(log.snapshot().size(), TreeSize(7));
}

#[tokio::test]
async fn another_hash_is_refused_and_kept_as_an_incident_once() {
    let disk = Disk::default();
    let log = over(&disk);
    log.append(candidates(0..3)).await.unwrap();
    let note = log.snapshot().head().note.clone();
    for _ in 0..3 {
        let receipt = log.append(vec![variant(1, 9)]).await.unwrap();
        let [AppendOutcome::Conflict(conflict)] = &receipt.outcomes[..] else {
            panic!("{:?}", receipt.outcomes)
        };
        assert_eq!((conflict.standing.id, &conflict.standing.lines), (RecordId(1), &lines(1)));
        assert_eq!(conflict.offered, lines_with(1, 9));
    }
    assert_eq!(log.snapshot().head().note, note, "an incident is no new head");
    // A batch with all three outcomes: the conflict takes no number.
    let mixed = log
        .append(vec![variant(0, 4), candidate(3), candidate(1), variant(3, 4), candidate(4)])
        .await
        .unwrap();
    assert!(
        matches!(
            &mixed.outcomes[..],
            [AppendOutcome::Conflict(_), AppendOutcome::Appended(RecordId(3)), AppendOutcome::Present(RecordId(1)), AppendOutcome::Conflict(within), AppendOutcome::Appended(RecordId(4))]
                if within.standing.id == RecordId(3) && within.standing.lines == lines(3)
        ),
        "{:?}",
        mixed.outcomes
    );
    let incidents = disk.incidents(100).unwrap();
    let seen: Vec<(String, u64)> = incidents
        .iter()
        .map(|incident| {
            let detail: serde_json::Value = serde_json::from_str(&incident.detail).unwrap();
            let record = detail["record"].as_u64().unwrap();
            assert_eq!(detail["standing"], lines(record).to_text());
            assert_eq!(detail["module"], module(record).path.as_str());
            assert_eq!(detail["version"], module(record).version.as_str());
            (incident.kind.clone(), record)
        })
        .collect();
    assert_eq!(seen, [3, 0, 1].map(|record| ("hash-conflict".to_owned(), record)));
    assert!(matches!(*log.state(), State::Writing), "a conflict stops nobody");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn races_for_one_version_have_one_winner() {
    const MODULES: u64 = 40;
    let directory = tempfile::tempdir().unwrap();
    let log = open_log(directory.path()).unwrap();
    let tasks: Vec<_> = (0..64_u64)
        .map(|task| {
            let log = log.clone();
            tokio::spawn(async move {
                let mut seen = Vec::new();
                for step in 0..MODULES {
                    let i = (step * 7 + task * 13) % MODULES;
                    let receipt = log.append(vec![variant(i, task % 3)]).await.unwrap();
                    seen.push((i, task % 3, receipt.outcomes[0].clone()));
                }
                seen
            })
        })
        .collect();
    let mut standing: BTreeMap<u64, (u64, u64, usize)> = BTreeMap::new();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.unwrap());
    }
    for (i, variant, outcome) in &all {
        if let AppendOutcome::Appended(id) = outcome {
            let entry = standing.entry(*i).or_insert((id.0, *variant, 0));
            entry.2 += 1;
        }
    }
    assert_eq!(standing.len() as u64, MODULES);
    assert!(standing.values().all(|(_, _, appended)| *appended == 1), "appended twice: {standing:?}");
    for (i, variant, outcome) in all {
        let (id, winner, _) = standing[&i];
        match outcome {
            AppendOutcome::Appended(at) | AppendOutcome::Present(at) => {
                assert_eq!((at.0, variant), (id, winner))
            }
            AppendOutcome::Conflict(conflict) => {
                assert_eq!((conflict.standing.id.0, conflict.standing.lines), (id, lines_with(i, winner)));
                assert_ne!(variant, winner);
            }
        }
    }
    assert_eq!(log.snapshot().size(), TreeSize(MODULES));
}

#[tokio::test]
async fn a_full_batch_is_taken_and_a_larger_one_is_a_mistake() {
    let log = over(&Disk::default());
    let receipt = log.append(candidates(0..16_384)).await.unwrap();
    assert_eq!(receipt.snapshot.size(), TreeSize(16_384));
    assert_eq!(head_sizes(&receipt.snapshot), [0, 16_384]);
    let too_many = tokio::spawn(async move { log.append(candidates(0..16_385)).await.map(drop) }).await;
    assert!(too_many.unwrap_err().is_panic());
}
