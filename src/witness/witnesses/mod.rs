//! The own log before its witnesses: asks for cosignatures of every head, keeps them, and closes the gate where they are demanded.
//!
//! ```text
//! a head is published (or waits at the gate) → the round's target → one task a witness: one request in flight, the newest target only
//!                                                    → cosignatures, verified, kept, shown on /tlog/checkpoint
//! ```
//!
//! All witnesses are shown the same head until enough of them have cosigned it or [`WitnessesOptions::patience`] is over, so that a log that
//! grows all the time has cosigned heads all the time. Then comes the newest; what was published in between is never asked for: a cosignature
//! of a head covers every head before it.
//!
//! On an idle log the head is cosigned again every [`WitnessesOptions::freshness`], by the witnesses and by the log's own key as a cosigner, so
//! that whoever reads it can tell that it is fresh.
//!
//! A witness that hangs, lies, or lost its memory changes nothing for the others: each has its own task, time limit and back-off. What one of
//! them can prove, by a checkpoint with the log's own signature that this log does not have, ends signing ([`Log::judge`]).

mod claims;
mod gate;
mod tally;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::ask::{AskError, AskedWitness};
use super::hearing::{Hearing, Word};
use crate::clock::Clock;
use crate::log::{CosignedCheckpoint, Log, SignedCheckpoint, Snapshot, State};
use crate::note::{CosignatureSigner, Signature, VerifierKey};
use crate::store::StoreError;
use crate::store::cosignatures::{CosignatureStore, StoredCosignature, WitnessAttempt};
use crate::tlog::{Checkpoint, Origin, TreeHead, TreeSize};
use crate::upstream::{HttpClient, backoff};
use tally::WitnessTally;
pub use tally::{LATENCY_BOUNDS, PeerFigures};

/// How long one attempt may take, with its corrections: a witness far away answers in a second.
const ATTEMPT: Duration = Duration::from_secs(10);
/// After a failure a witness is asked again after this long, doubled with each failure in a row ...
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// ... up to this long: a log that demands cosignatures waits for it.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// Whom the log asks, and what it demands.
pub struct WitnessesOptions {
    /// The log's verifier key; its name is the origin.
    pub log: VerifierKey,
    /// The log's own key, as a cosigner.
    pub own: CosignatureSigner,
    /// The witnesses.
    pub peers: Vec<AskedWitness>,
    /// Cosignatures that are enough.
    pub quorum: usize,
    /// Whether a head is published only after so many have cosigned it. The witnesses must be the
    /// log's gate then, and may be in any case.
    pub required: bool,
    /// How long a round waits for them.
    pub patience: Duration,
    /// How long the first signature waits for their answers at most ([`HEARING`](super::HEARING)).
    pub hearing: Duration,
    /// How old the newest cosignatures of an idle log become.
    pub freshness: Duration,
    /// Where cosignatures are kept.
    pub store: CosignatureStore,
    /// How witnesses are asked.
    pub client: HttpClient,
}

/// The witnesses of a log. Cloning gives another handle.
#[derive(Clone)]
pub struct Witnesses(Arc<Shared>);

/// What all handles share.
struct Shared {
    current: ArcSwap<Inner>,
    /// Told when other witnesses have taken their place.
    replaced: watch::Sender<()>,
}

/// Whom a log asks. A reload of the configuration may name others.
pub struct WitnessPanel {
    /// The witnesses.
    pub peers: Vec<AskedWitness>,
    /// As in [`WitnessesOptions`].
    pub quorum: usize,
    /// As in [`WitnessesOptions`].
    pub patience: Duration,
    /// As in [`WitnessesOptions`].
    pub freshness: Duration,
    /// As in [`WitnessesOptions`].
    pub client: HttpClient,
}

/// What stays whoever the witnesses are; see [`WitnessesOptions`].
struct Standing {
    log: VerifierKey,
    own: CosignatureSigner,
    required: bool,
    hearing: Duration,
    store: CosignatureStore,
}

struct Inner {
    standing: Arc<Standing>,
    panel: WitnessPanel,
    origin: Origin,
    target: watch::Sender<Option<Arc<Target>>>,
    round: Mutex<Round>,
    /// Told with every cosignature of the round's head.
    arrived: Condvar,
    news: watch::Sender<()>,
    tallies: Vec<WitnessTally>,
    hearing: Hearing,
    /// Heads of up to this size need no cosignatures.
    exempt: AtomicU64,
    /// The log, once it is open.
    log: Mutex<Option<Log>>,
    /// Others have taken their place: nothing comes here any more.
    is_replaced: AtomicBool,
}

/// What the witnesses are asked to cosign.
struct Target {
    snapshot: Snapshot,
    checkpoint: Arc<SignedCheckpoint>,
}

/// Lets the log go with the task that asks: as its gate we are held by its writer.
struct Leave(Arc<Inner>);

impl Drop for Leave {
    fn drop(&mut self) {
        *lock(&self.0.log) = None;
    }
}

/// The cosignatures of the target, by witness.
#[derive(Default)]
struct Round {
    tree: Option<TreeHead>,
    signatures: BTreeMap<usize, Signature>,
    /// Goes up with each of them.
    arrivals: u64,
    /// Goes up when they are asked for again.
    refresh: u64,
}

impl Witnesses {
    /// The witnesses of a log that is not open yet: as its gate they must be there first.
    pub fn new(options: WitnessesOptions) -> Witnesses {
        let WitnessesOptions {
            log,
            own,
            peers,
            quorum,
            required,
            patience,
            hearing,
            freshness,
            store,
            client,
        } = options;
        let standing = Arc::new(Standing { log, own, required, hearing, store });
        let panel = WitnessPanel { peers, quorum, patience, freshness, client };
        let current = ArcSwap::from_pointee(Inner::new(standing, panel));
        Witnesses(Arc::new(Shared { current, replaced: watch::Sender::new(()) }))
    }

    /// Has other witnesses asked from now on. Cosignatures that are stored stay, and so does what
    /// the log demands: a head that waits at the gate waits for the new ones.
    pub fn replace(&self, panel: WitnessPanel) {
        let before = self.current();
        let mut next = Inner::new(before.standing.clone(), panel);
        next.exempt = AtomicU64::new(before.exempt.load(Ordering::Relaxed));
        next.log = Mutex::new(lock(&before.log).clone());
        self.0.current.store(Arc::new(next));
        self.0.replaced.send_replace(());
        // Whoever waits at the gate for the old ones looks again.
        before.is_replaced.store(true, Ordering::Release);
        before.tell();
    }

    fn current(&self) -> Arc<Inner> {
        self.0.current.load_full()
    }

    /// How long the log must hold its first signature back for the witnesses, as
    /// [`Conditions::hold`](crate::log::Conditions::hold) has it.
    pub fn hold(&self) -> Option<Duration> {
        let inner = self.current();
        (!inner.panel.peers.is_empty()).then_some(inner.standing.hearing)
    }

    /// Asks the witnesses until it is dropped.
    pub async fn run(self, log: Log) {
        let mut replaced = self.0.replaced.subscribe();
        loop {
            tokio::select! {
                () = self.current().run(log.clone()) => return,
                _ = replaced.changed() => {}
            }
        }
    }

    /// Figures of each witness, and whether the newest head has enough cosignatures.
    pub fn figures(&self) -> (Vec<PeerFigures>, bool) {
        self.current().figures()
    }
}

impl Inner {
    fn new(standing: Arc<Standing>, panel: WitnessPanel) -> Inner {
        let origin = standing.log.name().as_str().parse().expect("a key's name is an origin");
        let tallies = panel.peers.iter().map(|_| WitnessTally::default()).collect();
        let (target, news) = (watch::Sender::new(None), watch::Sender::new(()));
        let (round, arrived, log) = (Mutex::default(), Condvar::new(), Mutex::new(None));
        let hearing = Hearing::new(panel.peers.len());
        // Until the log says how it was opened, only what is stored passes.
        let exempt = AtomicU64::new(0);
        let is_replaced = AtomicBool::new(false);
        Inner {
            standing,
            panel,
            origin,
            target,
            round,
            arrived,
            news,
            tallies,
            hearing,
            exempt,
            log,
            is_replaced,
        }
    }

    async fn run(self: Arc<Self>, log: Log) {
        *lock(&self.log) = Some(log.clone());
        log.caution(None);
        let _leave = Leave(self.clone());
        let mut tasks = JoinSet::new();
        for at in 0..self.panel.peers.len() {
            tasks.spawn(self.clone().serve(at));
        }
        tasks.spawn(self.clone().hear_out(log.clone()));
        let mut changes = log.watch();
        loop {
            let snapshot = log.snapshot();
            self.aim_at(&snapshot);
            let is_enough = self.wait_enough().await;
            self.show(&log);
            if !is_enough {
                tracing::warn!(
                    have = self.count(),
                    want = self.panel.quorum,
                    tree.size = snapshot.size().0,
                    "the newest head has not enough cosignatures"
                );
            }
            match timeout(self.panel.freshness, self.next(&log, &mut changes, snapshot.size())).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(_) => self.refresh(),
            }
        }
    }

    fn figures(&self) -> (Vec<PeerFigures>, bool) {
        let peers = self.panel.peers.iter().zip(&self.tallies);
        let peers = peers.map(|(peer, tally)| tally.figures(&peer.name)).collect();
        (peers, self.count() >= self.panel.quorum)
    }

    /// Makes a head what the witnesses are asked for, if it is a newer one.
    fn aim_at(&self, snapshot: &Snapshot) {
        let Some(checkpoint) = snapshot.checkpoint() else { return };
        let tree = checkpoint.tree;
        let mut round = lock(&self.round);
        if round.tree.is_some_and(|aimed| aimed.size >= tree.size) {
            return;
        }
        // What they cosigned before a restart counts.
        let (arrivals, refresh) = (round.arrivals, round.refresh);
        *round = Round { tree: Some(tree), signatures: self.stored(&tree), arrivals, refresh };
        let target = Target { snapshot: snapshot.clone(), checkpoint: checkpoint.clone() };
        self.target.send_replace(Some(Arc::new(target)));
        self.tell();
    }

    /// Has everything asked for again.
    fn refresh(&self) {
        lock(&self.round).refresh += 1;
        self.target.send_modify(|_| {});
    }

    fn count(&self) -> usize {
        lock(&self.round).signatures.len()
    }

    /// The stored cosignatures of a head, each verified again. What does not verify is dropped, and
    /// the witness is asked for it again as for any head.
    fn stored(&self, tree: &TreeHead) -> BTreeMap<usize, Signature> {
        let (verified, bad) = self.sorted(tree).unwrap_or_else(|error| {
            tracing::error!(%error, "the memory of the cosignatures cannot be read");
            Default::default()
        });
        for bad in bad {
            let error = unverified(&bad, "");
            tracing::warn!(%error, "a kept cosignature is dropped; its witness is asked again");
            if let Err(error) = self.standing.store.forget(&bad) {
                tracing::error!(%error, "a damaged cosignature cannot be dropped");
            }
        }
        verified
    }

    /// The stored cosignatures of a head by witness, and one row of each witness none of whose
    /// copies verifies.
    fn sorted(
        &self,
        tree: &TreeHead,
    ) -> Result<(BTreeMap<usize, Signature>, Vec<StoredCosignature>), StoreError> {
        let (mut verified, mut others) = (BTreeMap::new(), BTreeMap::new());
        for row in self.standing.store.of(tree)? {
            // A witness that the configuration does not name any more is nobody's.
            let Some(at) = self.panel.peers.iter().position(|peer| peer.key.to_string() == row.witness)
            else {
                continue;
            };
            match row.verified(&self.origin, &self.panel.peers[at].key) {
                Some(signature) => drop(verified.insert(at, signature)),
                None => drop(others.insert(at, row)),
            }
        }
        others.retain(|at, _| !verified.contains_key(at));
        Ok((verified, others.into_values().collect()))
    }

    /// Waits until enough have cosigned the target, for as long as a round may take.
    async fn wait_enough(&self) -> bool {
        let mut news = self.news.subscribe();
        let enough = async { while self.count() < self.panel.quorum && news.changed().await.is_ok() {} };
        timeout(self.panel.patience, enough).await.is_ok()
    }

    /// Tells who waits for cosignatures, tasks and the writer's thread.
    fn tell(&self) {
        self.arrived.notify_all();
        self.news.send_replace(());
    }

    /// Waits for a head newer than the one of size `seen`, and shows what comes meanwhile: the publication of a head that had waited, and
    /// late cosignatures. False when the log is gone.
    async fn next(&self, log: &Log, changes: &mut watch::Receiver<TreeSize>, seen: TreeSize) -> bool {
        loop {
            let (aimed, arrivals) = {
                let round = lock(&self.round);
                (round.tree.map_or(TreeSize(0), |tree| tree.size), round.arrivals)
            };
            // A log that signs nothing has no checkpoint, and nobody is aimed at it: its head alone is no news.
            if log.snapshot().size() > aimed.max(seen) {
                return true;
            }
            match timeout(FIRST_PAUSE, changes.changed()).await {
                Ok(Err(_)) => return false,
                Ok(Ok(())) if log.snapshot().size() == aimed => self.show(log),
                Err(_) if lock(&self.round).arrivals != arrivals => self.show(log),
                _ => {}
            }
        }
    }

    /// Puts the cosignatures of the published head where it is served, with one of the log's own that says the time.
    fn show(&self, log: &Log) {
        if let Some(checkpoint) = log.snapshot().checkpoint() {
            self.put(log, checkpoint);
        }
    }

    fn put(&self, log: &Log, checkpoint: &Arc<SignedCheckpoint>) {
        let round = lock(&self.round);
        let mut signatures: Vec<Signature> = Vec::with_capacity(1 + round.signatures.len());
        // A log that is stopped does not say that its head is the newest.
        if matches!(*log.state(), State::Writing) {
            let text = Checkpoint::new(self.origin.clone(), checkpoint.tree).format();
            let now = u64::try_from(self.panel.client.clock().unix_time().seconds).unwrap_or(0);
            signatures.push(self.standing.own.cosign(&text, now));
        }
        if round.tree == Some(checkpoint.tree) {
            signatures.extend(round.signatures.values().cloned());
        }
        drop(round);
        log.cosignatures().put(CosignedCheckpoint { checkpoint: checkpoint.clone(), signatures });
    }

    /// Lets the log sign when the witnesses have said enough, or had time enough.
    async fn hear_out(self: Arc<Self>, log: Log) {
        if !log.is_held() {
            return;
        }
        if self.panel.peers.is_empty() {
            // A reload has named none, while the ones before it were still being asked.
            return log.release();
        }
        let mut news = self.news.subscribe();
        let enough =
            async { while !self.hearing.is_settled(self.panel.quorum) && news.changed().await.is_ok() {} };
        let is_settled = timeout(self.standing.hearing, enough).await.is_ok();
        if matches!(&*log.state(), State::ReadOnly(reason) if !reason.passes()) {
            return;
        }
        match self.caution() {
            _ if is_settled => {}
            Some(caution) => tracing::error!("the log signs although {caution}"),
            None => tracing::warn!(
                answers = self.hearing.answers(),
                want = self.panel.quorum.max(1),
                "too few witnesses answered before the first signature: if log and anchor are old \
                 copies of one time, nobody has said so"
            ),
        }
        log.release();
    }

    /// Takes the word of a witness, and shows the operator what is claimed without proof.
    fn hear(&self, at: usize, word: Word) {
        if !self.hearing.hear(at, word) {
            return;
        }
        if let Some(log) = lock(&self.log).clone() {
            log.caution(self.caution());
        }
        self.tell();
    }

    fn caution(&self) -> Option<String> {
        self.hearing.caution(|at| self.panel.peers[at].name.clone())
    }

    /// The task of one witness.
    async fn serve(self: Arc<Self>, at: usize) {
        let (peer, store) = (&self.panel.peers[at], &self.standing.store);
        let vkey = peer.key.to_string();
        let unreadable = |error| tracing::error!(%error, "the memory of the cosignatures cannot be read");
        // Only a hint: the witness corrects it.
        let newest = store.newest(&vkey).map_err(unreadable).unwrap_or_default();
        let mut known = newest.first().map_or(TreeSize(0), |newest| newest.tree.size);
        let mut attempt = store.attempt(&vkey).unwrap_or_default();
        attempt.failures = 0;
        let (mut targets, mut done) = (self.target.subscribe(), None);
        loop {
            let target = targets.borrow_and_update().clone();
            let refresh = lock(&self.round).refresh;
            let wanted = target.as_ref().map(|target| (target.checkpoint.tree, refresh));
            let Some(target) = target.filter(|_| wanted != done) else {
                if targets.changed().await.is_err() {
                    return;
                }
                continue;
            };
            match self.attempt(at, &target, &mut known, &mut attempt).await {
                Ok(()) => done = wanted,
                Err(pause) => sleep(pause).await,
            }
            if let Err(error) = store.note_attempt(&vkey, &attempt) {
                tracing::debug!(%error, "the outcome of an attempt was not kept");
            }
        }
    }

    /// One attempt with a witness; after a failure the pause before the next.
    async fn attempt(
        &self,
        at: usize,
        target: &Target,
        known: &mut TreeSize,
        attempt: &mut WitnessAttempt,
    ) -> Result<(), Duration> {
        let (peer, tally, clock) = (&self.panel.peers[at], &self.tallies[at], self.clock());
        let began = clock.instant();
        let question = (&target.snapshot, &*target.checkpoint);
        let asked = peer.ask(&self.panel.client, question, known, began + ATTEMPT).await;
        let latency = clock.instant().saturating_duration_since(began);
        match asked {
            Ok(signature) => {
                if attempt.failures > 0 {
                    tracing::info!(witness = peer.name, "the witness cosigns again");
                }
                *attempt = WitnessAttempt {
                    succeeded_at: Some(clock.now()),
                    latency: Some(latency),
                    failures: 0,
                    ..std::mem::take(attempt)
                };
                tally.success(target.checkpoint.tree.size, latency);
                self.hear(at, Word::NothingNewer);
                self.take(at, target, signature, clock.now());
                Ok(())
            }
            Err(error) => {
                tally.failed.fetch_add(1, Ordering::Relaxed);
                attempt.failures = attempt.failures.saturating_add(1);
                attempt.failed_at = Some(clock.now());
                // Once for each kind of failure in a row: the metrics count them all.
                if attempt.failure.replace(error.to_string()) != attempt.failure || attempt.failures == 1 {
                    tracing::warn!(witness = peer.name, %error, "a witness has not cosigned");
                }
                self.look_into(at, &error).await;
                let asked = match &error {
                    AskError::Refused { retry_after, .. } => retry_after.unwrap_or_default(),
                    _ => Duration::ZERO,
                };
                Err(backoff(FIRST_PAUSE, LONGEST_PAUSE, attempt.failures).max(asked.min(LONGEST_PAUSE)))
            }
        }
    }

    fn clock(&self) -> &Clock {
        self.panel.client.clock()
    }

    /// Keeps a cosignature that was verified, then counts it.
    fn take(&self, at: usize, target: &Target, signature: Signature, now: Timestamp) {
        let (witness, tree) = (self.panel.peers[at].key.to_string(), target.checkpoint.tree);
        let line = signature.format_line();
        let stored = StoredCosignature { witness, tree, line, received_at: now };
        // First kept, then counted: a head that was published has its cosignatures here, also after a kill.
        if let Err(error) = self.standing.store.keep(&stored) {
            tracing::error!(%error, "a cosignature could not be kept");
            return;
        }
        let mut round = lock(&self.round);
        if round.tree == Some(tree) {
            round.signatures.insert(at, signature);
            round.arrivals += 1;
            self.tell();
        }
    }
}

/// The damage that a row shows whose line is no cosignature by its witness.
fn unverified(row: &StoredCosignature, fix: &str) -> StoreError {
    let StoredCosignature { witness, tree, .. } = row;
    StoreError::Damaged {
        place: format!("the kept cosignature of {witness} for the head of size {}", tree.size),
        why: format!("it is no cosignature of this head by this witness{fix}"),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
