//! No irreversible decision on a stale view: interleavings of {append, gate, publish, gossip, witness answer, restart}.
//!
//! The log is the real one over a store in memory. Its store and its gate call back at each step of a batch, and there, on the
//! writer's own thread, a seeded scheduler decides what everybody else does before the writer goes on:
//!
//! ```text
//! test's thread    append ──────────────────────────────────────────────────────▶ answered ● restart, …
//! writer           begin ● committed ● known as committed   gate ● closed or open   publish
//! ```
//!
//! The others are gossipers and witnesses, who show heads that have left the process; another copy of the log, which signs
//! what the writer is committing at this moment; and forgers, who show heads that this log never had. What left the process
//! stops nothing, nor does the head of the batch itself; after a forger was heard nothing more is signed.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tallystick::gossip::{Gossip, Verdict};
use tallystick::log::{
    AppendError, Conditions, IncidentReport, Judgment, Log, NotPassed, OpenedLog, PublishGate, ReadOnly,
    Snapshot, State,
};
use tallystick::mirror::Mirrors;
use tallystick::module::ModuleVersion;
use tallystick::note::{SignerKey, sign};
use tallystick::store::memory::{Disk, Fault, MemoryStore};
use tallystick::store::{Append, Batch, IncidentKind, LogParts, LogReader, StoreError, StoredRecord};
use tallystick::tlog::{Hash, TreeHead, TreeSize, verify_consistency};

use super::{Attend, Attended};
use crate::crash::campaign::{Random, Tally, seed, times};
use crate::support::logs::{candidate, clock, identity_of, signer};

/// A head with its note.
type Note = (TreeHead, String);

/// What everybody shares. Whoever has the lock makes a step; the writer and the test take turns.
struct World {
    random: Random,
    signer: SignerKey,
    /// None while the log starts and ends.
    log: Option<Log>,
    gossip: Option<Gossip>,
    evidence: PathBuf,
    /// Heads that left the process: shown to the gate, or published.
    shown: Vec<Note>,
    passed: BTreeSet<TreeSize>,
    /// What was decided about heads that were shown while a batch was committed.
    during_commit: Vec<JoinHandle<Judgment>>,
    steps: u64,
    failure: Option<String>,
}

/// The handle of the callbacks.
#[derive(Clone)]
struct Schedule {
    world: Arc<Mutex<World>>,
    /// A forger was heard, and the log said that it stops.
    is_over: Arc<AtomicBool>,
}

fn report(why: &ReadOnly) -> IncidentReport {
    IncidentReport { kind: IncidentKind::Misbehavior, detail: why.to_string() }
}

/// Own heads are compared without waiting for anybody.
fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("an own head was compared over the network"),
    }
}

impl World {
    fn fail(&mut self, what: String) {
        self.failure.get_or_insert(what);
    }

    fn expect(&mut self, is_right: bool, what: impl FnOnce() -> String) {
        if !is_right {
            self.fail(what());
        }
    }

    fn sign(&self, tree: TreeHead) -> Note {
        (tree, sign(&tree.format(), &[&self.signer]).expect("a head is a note's text"))
    }

    /// What others do now.
    fn others(&mut self) {
        for _ in 0..self.random.below(3) {
            let Some(log) = self.log.clone() else { return };
            self.steps += 1;
            if self.shown.is_empty() {
                return;
            }
            // Mostly the newest: that is where a stale view would be wrong.
            let back = self.random.below(2) * self.random.below(self.shown.len() as u64);
            let (tree, note) = self.shown[self.shown.len() - 1 - back as usize].clone();
            if self.random.below(2) == 0 {
                self.witness(&log, &tree, &note);
            } else {
                self.gossiper(&log, tree, &note);
            }
        }
    }

    /// A witness that shows a head, to a caller who thinks that the log has nothing like it.
    fn witness(&mut self, log: &Log, tree: &TreeHead, note: &str) {
        let judged = log.judge(tree, note, report);
        self.expect(matches!(judged, Ok(Judgment::Contained)), || format!("witness, {tree:?}: {judged:?}"));
    }

    fn gossiper(&mut self, log: &Log, tree: TreeHead, note: &str) {
        let deadline = Instant::now() + Duration::from_secs(3600);
        let heard = ready(self.gossip.as_ref().expect("beside the log").hear(note.as_bytes(), deadline));
        let heard = heard.expect("a head of this log");
        let (known, _) = heard.known.expect("the log has a head");
        let published = log.snapshot().size();
        self.expect(known.size == published, || format!("{known:?} is not the published head {published}"));
        let is_good = match &heard.verdict {
            Verdict::Consistent(None) => tree.size.0 == 0,
            Verdict::Consistent(Some(proof)) => {
                verify_consistency(proof, known.size, &known.root, tree.size, &tree.root).is_ok()
            }
            Verdict::Ahead => tree.size > published,
            Verdict::Fork(_) => false,
        };
        self.expect(is_good, || format!("gossip, {tree:?} beside {known:?}: {:?}", heard.verdict));
    }

    /// Shows a head that this log never had.
    fn forger(&mut self, is_over: &AtomicBool) {
        let Some(log) = self.log.clone() else { return };
        let (published, ahead) = (log.snapshot().size(), self.random.below(3) == 0 || self.shown.len() < 2);
        // More than a batch further than anything that is being written, or beside what is there.
        let size = if ahead { published.0 + 1000 } else { 1 + self.random.below(published.0.max(1)) };
        let (tree, note) = self.sign(TreeHead { size: TreeSize(size), root: Hash::of_record(b"another") });
        self.steps += 1;
        if self.random.below(2) == 0 {
            let judged = log.judge(&tree, &note, report);
            let is_good = matches!(judged, Ok(Judgment::Contradicts { .. }));
            self.expect(is_good, || format!("forger, {tree:?}: {judged:?}"));
        } else {
            std::fs::create_dir_all(&self.evidence).expect("a directory for evidence");
            let gossip = self.gossip.as_ref().expect("beside the log");
            let heard = ready(gossip.hear(note.as_bytes(), Instant::now())).expect("a head of this log");
            let is_good = matches!(heard.verdict, Verdict::Ahead | Verdict::Fork(_));
            self.expect(is_good, || format!("forger, {tree:?}: {:?}", heard.verdict));
        }
        let state = log.state();
        let is_good =
            matches!(&*state, State::ReadOnly(ReadOnly::Contradicted { .. } | ReadOnly::Stopped { .. }));
        self.expect(is_good, || format!("after a forger: {state:?}"));
        is_over.store(true, Ordering::SeqCst);
    }
}

impl Schedule {
    fn new(seed: u64, evidence: PathBuf) -> Schedule {
        let world = World {
            random: Random::new(seed),
            signer: signer(),
            log: None,
            gossip: None,
            evidence,
            shown: Vec::new(),
            passed: BTreeSet::new(),
            during_commit: Vec::new(),
            steps: 0,
            failure: None,
        };
        Schedule { world: Arc::new(Mutex::new(world)), is_over: Arc::default() }
    }

    fn with<T>(&self, act: impl FnOnce(&mut World) -> T) -> T {
        act(&mut self.world.lock().expect("nobody panics while holding the world"))
    }

    fn draw(&self, below: u64) -> u64 {
        self.with(|world| world.random.below(below))
    }

    fn open(&self, disk: &Disk) {
        let store = MemoryStore::open(disk, Some(&identity_of(&signer()))).expect("a store in memory");
        let store = Box::new(Attended { store: Box::new(store), by: self.clone() });
        let gate = Arc::new(self.clone());
        let log = Log::open(
            LogParts::only(store),
            vec![signer()],
            clock(),
            Conditions { gate: Some(gate), hold: None },
        )
        .expect("a sound log");
        self.with(|world| {
            let (head, evidence) = (log.snapshot().head().clone(), world.evidence.clone());
            world.shown.push((head.tree, head.note.clone()));
            world.gossip = Some(Gossip::new(log.clone(), Mirrors::default(), evidence, clock()));
            world.log = Some(log);
        });
    }

    fn close(&self) {
        self.settle_commit();
        let log = self.with(|world| {
            world.gossip = None;
            world.log.take()
        });
        log.expect("it was open").close();
    }

    /// Heads that were shown during a commit are in the log.
    fn settle_commit(&self) {
        for judged in self.with(|world| std::mem::take(&mut world.during_commit)) {
            let judged = judged.join().expect("a judgment");
            self.with(|world| {
                world.expect(judged == Judgment::Contained, || format!("during a commit: {judged:?}"))
            });
        }
    }

    /// One batch, and what becomes of it.
    fn append(&self, disk: &Disk, runtime: &tokio::runtime::Runtime, next: &mut u64) {
        let count = 1 + self.draw(3);
        let offered = (*next..*next + count).map(candidate).collect();
        *next += count;
        let log = self.with(|world| world.log.clone()).expect("it is open");
        let was_over = self.is_over.load(Ordering::SeqCst);
        let signed = || disk.heads(TreeSize(u64::MAX), 1).expect("heads in memory")[0].tree;
        let before = signed();
        let answer = runtime.block_on(log.append(offered));
        self.settle_commit();
        let after = signed();
        self.with(|world| match answer {
            Ok(receipt) => {
                let head = receipt.snapshot.head();
                world.expect(!was_over, || format!("{:?} was acknowledged after a forger", head.tree));
                world.shown.push((head.tree, head.note.clone()));
            }
            Err(AppendError::ReadOnly(
                ReadOnly::Unwitnessed { .. } | ReadOnly::Contradicted { .. } | ReadOnly::Stopped { .. },
            )) => {}
            Err(error) => world.fail(format!("refused: {error}")),
        });
        self.with(|world| {
            world.expect(!was_over || before == after, || format!("{after:?} was signed after a forger"))
        });
    }

    /// The whole schedule. Returns how many steps others made.
    fn run(&self, runtime: &tokio::runtime::Runtime) -> Result<u64, String> {
        let (disk, mut next) = (Disk::default(), 0);
        self.open(&disk);
        for _ in 0..2 + self.draw(4) {
            match self.draw(8) {
                0 => {
                    self.close();
                    // A stop of a log in memory ends with it; those on disk are tested elsewhere.
                    self.is_over.store(false, Ordering::SeqCst);
                    self.open(&disk);
                }
                1 if self.draw(2) == 0 => self.with(|world| world.forger(&self.is_over)),
                2 => disk.faults.queue(Fault::CommitFailedAfterwards),
                _ => self.append(&disk, runtime, &mut next),
            }
            self.with(World::others);
            let is_over = self.is_over.load(Ordering::SeqCst);
            self.with(|world| {
                let state = world.log.as_ref().expect("it is open").state();
                let is_stopped = matches!(&*state, State::ReadOnly(ReadOnly::Contradicted { .. }));
                world.expect(!is_stopped || is_over, || format!("stopped for nothing: {state:?}"));
            });
        }
        self.close();
        self.with(|world| world.failure.take().map_or(Ok(world.steps), Err))
    }
}

impl PublishGate for Schedule {
    fn start(&self, _: &OpenedLog) -> Result<bool, StoreError> {
        Ok(true)
    }

    fn has_passed(&self, tree: &TreeHead) -> Result<bool, StoreError> {
        Ok(self.with(|world| tree.size.0 == 0 || world.passed.contains(&tree.size)))
    }

    fn pass(&self, snapshot: &Snapshot) -> Result<(), NotPassed> {
        self.with(|world| {
            let head = snapshot.head();
            world.shown.push((head.tree, head.note.clone()));
            world.others();
            if world.random.below(16) == 0 {
                world.forger(&self.is_over);
            }
            if world.random.below(3) == 0 {
                return Err(NotPassed { have: 0, want: 1, waited: Duration::ZERO });
            }
            world.passed.insert(head.tree.size);
            Ok(())
        })
    }
}

/// Others act before and after each commit.
impl Attend for Schedule {
    fn attend<'a>(&self, batch: Box<dyn Append + 'a>) -> Box<dyn Append + 'a> {
        Box::new(StepsOfOne { inner: batch, schedule: self.clone() })
    }
}

struct StepsOfOne<'a> {
    inner: Box<dyn Append + 'a>,
    schedule: Schedule,
}

impl StepsOfOne<'_> {
    /// Somebody shows a head while the batch is being committed: one that left the process, or that of the batch, which another
    /// copy of the log has signed. On a thread of its own, since the decision may have to wait for the commit.
    fn meanwhile(world: &mut World, of_batch: Option<TreeHead>) {
        if world.random.below(6) > 0 {
            return;
        }
        let (Some(log), Some(newest)) = (world.log.clone(), world.shown.last().cloned()) else { return };
        let (tree, note) = of_batch.map_or(newest, |tree| world.sign(tree));
        world.steps += 1;
        world
            .during_commit
            .push(std::thread::spawn(move || log.judge(&tree, &note, report).expect("the tree can be read")));
    }
}

impl Append for StepsOfOne<'_> {
    fn find(&mut self, module: &ModuleVersion) -> Result<Option<StoredRecord>, StoreError> {
        self.inner.find(module)
    }

    fn commit(self: Box<Self>, batch: &Batch) -> Result<(), StoreError> {
        let StepsOfOne { inner, schedule } = *self;
        // Incidents are kept whenever they come, while the test makes its next step.
        let Some(tree) = batch.head.as_ref().map(|head| head.tree) else { return inner.commit(batch) };
        let is_over = schedule.is_over.load(Ordering::SeqCst);
        schedule.with(|world| {
            world.expect(!is_over, || format!("{tree:?} is signed after a forger"));
            StepsOfOne::meanwhile(world, None);
        });
        let committed = inner.commit(batch);
        // A commit that fails ends the process: nobody has what it may have signed.
        schedule.with(|world| StepsOfOne::meanwhile(world, committed.is_ok().then_some(tree)));
        committed
    }
}

#[test]
fn what_left_the_process_never_stops_it_in_any_interleaving() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut tally =
        Tally::new("19-interleavings", "interleaving of append, gate, publish, gossip, witness, restart");
    let (first, mut steps) = (seed().wrapping_mul(1 << 32), 0);
    for round in 0..times(10_000) {
        let evidence = directory.path().join(round.to_string());
        match Schedule::new(first + round, evidence).run(&runtime) {
            Ok(made) => steps += made,
            Err(why) => tally.failed(format!("seed {} round {round}: {why}", seed())),
        }
        tally.tried(1);
    }
    tally.note(format!("{steps} steps of others"));
    tally.finish();
}
