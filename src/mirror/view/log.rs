//! [`RemoteLog`]: the verified view of a remote log, as everybody outside sees it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;

use super::advance::{Advances, LogProgress};
use super::compare::{self, HeadComparison};
use super::data_tiles::{self, RecordsError};
use super::error::RemoteError;
use super::known::{KnownLog, MirrorIncident, VerifiedRecord, check_head};
use super::limits::RemoteLimits;
use super::lookup::Lookups;
use super::misbehavior::Misbehavior;
use super::prove::{self, ProvenRecord};
use super::verify::LogVerifier;
use crate::clock::Clock;
use crate::module::ModuleVersion;
use crate::note::VerifierKey;
use crate::share::Claimant;
use crate::store::StoreError;
use crate::store::remote::{Attempts, Counts, SeenHead};
use crate::store::replica::Replica;
use crate::tlog::{Hash, InclusionProof, RecordId, Tile, TreeHead, TreeSize};
use crate::upstream::RemoteSumdb;

/// Which log it is, and where what is verified of it is stored.
pub struct RemoteLogOptions {
    /// The log's name: its key's name.
    pub name: String,
    /// The key that signs its heads.
    pub key: VerifierKey,
    /// Where it is reached.
    pub transport: RemoteSumdb,
    /// The database file; its directory must exist.
    pub database: PathBuf,
    /// What time it is.
    pub clock: Clock,
    /// The replica, where there is one: answered from before anything else.
    pub replica: Option<Replica>,
    /// How much it may take.
    pub limits: RemoteLimits,
}

/// The verified view of a remote log. Cloning gives another handle.
#[derive(Clone)]
pub struct RemoteLog {
    known: Arc<KnownLog>,
    /// Replaced when the log is asked elsewhere. All handles share it.
    asking: Arc<ArcSwap<Asking>>,
}

/// What is under way at the URLs of a log, and what they said lately.
struct Asking {
    verifier: Arc<LogVerifier>,
    advances: Arc<Advances>,
    lookups: Arc<Lookups>,
}

impl Asking {
    fn new(verifier: Arc<LogVerifier>, advances: Advances, limits: &RemoteLimits) -> Asking {
        let advances = Arc::new(advances);
        let lookups = Arc::new(Lookups::new(advances.clone(), limits));
        Asking { verifier, advances, lookups }
    }
}

impl RemoteLog {
    /// Opens what is stored of a log, and creates it when there is nothing. No network is used.
    pub fn open(options: RemoteLogOptions) -> Result<RemoteLog, RemoteError> {
        let RemoteLogOptions { name, key, transport, database, clock, replica, limits } = options;
        let known = Arc::new(KnownLog::open(name, key, database, clock, replica)?);
        let attempts = known.store.attempts()?;
        let verifier = LogVerifier::new(known, transport, &limits);
        Ok(RemoteLog::with(verifier, attempts, limits.patience, &limits))
    }

    fn with(verifier: LogVerifier, last: Attempts, patience: Duration, limits: &RemoteLimits) -> RemoteLog {
        let verifier = Arc::new(verifier);
        let advances = Advances::new(verifier.clone(), patience, last);
        let known = verifier.known().clone();
        RemoteLog { known, asking: Arc::new(ArcSwap::from_pointee(Asking::new(verifier, advances, limits))) }
    }

    /// Asks at other URLs, or in another manner, from now on. What was verified stays. Nobody joins
    /// a question that is under way at the old URLs any more, and what they had refused or what is
    /// known of them is forgotten.
    pub(crate) fn ask_at(&self, transport: RemoteSumdb, limits: &RemoteLimits) {
        let before = self.asking();
        let verifier = Arc::new(LogVerifier::new(self.known.clone(), transport, limits));
        let advances = before.advances.with(verifier.clone());
        self.asking.store(Arc::new(Asking::new(verifier, advances, limits)));
    }

    fn asking(&self) -> Arc<Asking> {
        self.asking.load_full()
    }

    /// Returns a view of the same log at each of its URLs alone. They share store, heads and stop:
    /// what one URL shows is compared with what the others have shown.
    pub(crate) fn views(&self) -> Vec<RemoteLog> {
        let view = |transport| {
            let (verifier, limits) = (self.verifier().at(transport), RemoteLimits::default());
            RemoteLog::with(verifier, Attempts::default(), self.patience(), &limits)
        };
        self.transport().each().into_iter().map(view).collect()
    }

    /// Returns the log's name.
    pub fn name(&self) -> &str {
        &self.known.name
    }

    /// Returns the key that signs its heads.
    pub(crate) fn key(&self) -> &VerifierKey {
        &self.known.key
    }

    /// Returns where it is reached, with what is known of each URL.
    pub fn transport(&self) -> RemoteSumdb {
        self.verifier().transport().clone()
    }

    /// Returns the part that verifies what the URLs send.
    pub(in crate::mirror) fn verifier(&self) -> Arc<LogVerifier> {
        self.asking().verifier.clone()
    }

    /// Returns how long one question may take.
    pub(in crate::mirror) fn patience(&self) -> Duration {
        self.asking().advances.patience
    }

    /// Returns the time by the log's clock, for deadlines.
    pub fn instant(&self) -> Instant {
        self.known.clock.instant()
    }

    /// Returns the time by the log's clock.
    pub(crate) fn now(&self) -> jiff::Timestamp {
        self.known.clock.now()
    }

    /// Looks up the lines of a module version: in the store, else at the log. Waits until
    /// `deadline` at the latest; the work goes on after that, so that the next caller finds more of
    /// it done.
    pub async fn lookup(
        &self,
        module: &ModuleVersion,
        deadline: Instant,
    ) -> Result<ProvenRecord, RemoteError> {
        self.lookup_for(module, Some(Claimant::Operator), deadline).await
    }

    /// Does a [`lookup`](RemoteLog::lookup) for a client, which takes turns with the others.
    /// Without one, nobody waits for the answer: the question is put to the log only while no
    /// client needs its place.
    pub async fn lookup_for(
        &self,
        module: &ModuleVersion,
        client: Option<Claimant>,
        deadline: Instant,
    ) -> Result<ProvenRecord, RemoteError> {
        self.asking().lookups.lookup(module, client, deadline).await
    }

    /// Returns how much longer it is to be believed that the log does not have a module version: it
    /// was asked a moment ago.
    pub(crate) fn is_missing(&self, module: &ModuleVersion) -> Option<Duration> {
        self.asking().lookups.missing.recall(module, self.instant())
    }

    /// Finds a module version that was proved before; no network.
    pub fn find(&self, module: &ModuleVersion) -> Result<Option<ProvenRecord>, RemoteError> {
        self.known.check_running()?;
        prove::find(&self.known, module)
    }

    /// Returns the record of a module version, if it is stored; no network. It is answered also
    /// when the log is stopped: it was proved before the log contradicted itself.
    pub(crate) fn stored_record(
        &self,
        module: &ModuleVersion,
    ) -> Result<Option<VerifiedRecord>, RemoteError> {
        let Some(record) = self.known.record(module)? else { return Ok(None) };
        if self.head_for(record.id).is_none() {
            // Another process, or a commit a moment ago: its head is in the store.
            self.known.reload_newest()?;
        }
        // A record beyond every head that is known is there, and cannot be shown to anybody yet.
        Ok(Some(record).filter(|record| self.head_for(record.id).is_some()))
    }

    /// Returns a tile of height 8, if as much of it is stored; no network. A damaged hash tile is
    /// as good as none.
    pub(crate) fn stored_tile(&self, tile: &Tile) -> Result<Option<Bytes>, RemoteError> {
        self.asking().lookups.stored_tile(tile)
    }

    /// Returns a hash tile of height 8: stored, else fetched, verified up to the root of the newest
    /// head and stored. `None` when the newest tree, asked for just now, does not have it.
    pub async fn tile(&self, tile: &Tile, deadline: Instant) -> Result<Option<Bytes>, RemoteError> {
        self.asking().lookups.tile(tile, deadline).await
    }

    /// Asks for the log's newest head and moves to it. Returns the newest head then.
    pub async fn advance(&self, deadline: Instant) -> Result<Arc<SeenHead>, RemoteError> {
        self.known.check_running()?;
        self.asking().advances.advance(deadline).await?;
        Ok(self.newest().expect("a log that was advanced has a head"))
    }

    /// Asks for the newest head for as long as one question may take.
    pub(crate) async fn poll(&self) -> Result<Arc<SeenHead>, RemoteError> {
        self.advance(self.instant() + self.patience()).await
    }

    /// Returns how far it is.
    pub(crate) fn progress(&self) -> LogProgress {
        self.asking().advances.progress()
    }

    /// Remembers that everything under the newest head is here.
    pub(in crate::mirror) async fn note_success(&self) {
        self.asking().advances.note_success().await;
    }

    /// Remembers that the newest head was reached and the records under it were not.
    pub(in crate::mirror) async fn note_failure(&self, why: &str) {
        self.asking().advances.note_failure(why).await;
    }

    /// Returns how much is stored beside the replica.
    pub fn counts(&self) -> Result<Counts, StoreError> {
        self.known.store.counts()
    }

    /// Returns the newest head seen.
    pub fn newest(&self) -> Option<Arc<SeenHead>> {
        self.known.newest()
    }

    /// Returns the head that is answered to others: the newest whose every record is in the
    /// replica, so that nothing it needs is asked for anywhere. Without a replica, the newest seen.
    pub fn served(&self) -> Option<Arc<SeenHead>> {
        self.known.served_head()
    }

    /// Returns the head that is answered with a record: the one that is
    /// [served](RemoteLog::served), unless the record is newer. None when no head that is known
    /// covers it.
    pub(crate) fn head_for(&self, record: RecordId) -> Option<Arc<SeenHead>> {
        let covers = |head: &Arc<SeenHead>| record.0 < head.tree.size.0;
        self.served().filter(covers).or_else(|| self.newest().filter(covers))
    }

    /// Returns the head of exactly this size, if it was seen.
    pub fn head(&self, size: TreeSize) -> Result<Option<SeenHead>, RemoteError> {
        let head = self.known.head(size)?;
        head.iter().try_for_each(|head| check_head(self.key(), head))?;
        Ok(head)
    }

    /// Makes the proof that a record is in the tree of a head that was seen, from stored tiles, and
    /// verifies it again. `None` when head, record or one of the tiles is not stored; never for
    /// what [`ProvenRecord`] names.
    pub fn prove(&self, record: RecordId, size: TreeSize) -> Result<Option<InclusionProof>, RemoteError> {
        Ok(prove::prove(&self.known, record, size)?)
    }

    /// Returns the replica, where there is one.
    pub fn replica(&self) -> Option<&Replica> {
        self.known.replica.as_ref()
    }

    /// Returns how many records the replica has, in the mode that brings in more of them.
    pub(crate) fn replicated(&self) -> Option<TreeSize> {
        self.replica().filter(|_| self.known.is_full()).map(|replica| replica.reader().size())
    }

    /// Says that the mode is `full`: up to date means every record, and the replica's head is the
    /// one to serve.
    pub(in crate::mirror) fn set_full(&self) {
        self.known.set_full();
    }

    /// Compares a head that somebody was shown, and whose signature was verified, with those known
    /// here. `note` is its text with the signature by the log's key and no others: the evidence
    /// holds it if the head convicts the log.
    pub(crate) async fn compare_head(
        &self,
        head: &TreeHead,
        note: &str,
        deadline: Instant,
    ) -> Result<HeadComparison, RemoteError> {
        compare::compare_head(&self.asking().advances, head, note, deadline).await
    }

    /// Fetches the head that the log's URLs show as the newest: signed, and compared with no other.
    pub(crate) async fn fetch_head(&self, deadline: Instant) -> Result<SeenHead, RemoteError> {
        compare::fetch_head(&self.verifier(), deadline).await
    }

    /// Reads the texts of the records of data tile `number`, as many as are under `head`, a head
    /// that was compared. Nothing is stored.
    pub(crate) async fn read_records(
        &self,
        number: u64,
        head: &TreeHead,
    ) -> Result<Vec<String>, RecordsError> {
        data_tiles::read_records(&self.verifier(), number, head).await
    }

    /// Proves that a record with this hash is under `head`, a head that was compared.
    pub(crate) async fn prove_under(
        &self,
        record: RecordId,
        leaf: &Hash,
        head: &TreeHead,
    ) -> Result<InclusionProof, RemoteError> {
        data_tiles::prove_under(&self.verifier(), record, leaf, head).await
    }

    /// Returns the contradiction for which this log was stopped, if it was.
    pub fn is_stopped(&self) -> Option<Arc<Misbehavior>> {
        self.incident().map(|incident| incident.misbehavior.clone())
    }

    /// Returns the incident for which this log is stopped, if it is.
    pub fn incident(&self) -> Option<Arc<MirrorIncident>> {
        self.known.incident()
    }

    /// Ends the stop for this incident after a person has looked at it. The evidence stays. Returns
    /// false when the log is not stopped, or for another incident.
    pub async fn resume(&self, incident: u64) -> Result<bool, RemoteError> {
        self.known.resume(incident).await
    }
}
