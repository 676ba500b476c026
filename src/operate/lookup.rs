//! One module version: what the log says about it, and bringing it in.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::operations::Operations;
use super::refusal::Refusal;
use super::text;
use crate::log::{Log, Snapshot, evidence_of};
use crate::module::ModuleVersion;
use crate::notary::{Delay, Notarized, Notary, NotaryError};
use crate::share::Claimant;
use crate::store::evidence::StoredEvidence;
use crate::store::{Evidence, Identity, LogReader, StoreError, StoredHead, StoredRecord};
use crate::tlog::{Hash, TreeSize};

/// After so many tries the notary has worked on a module version for as long as it ever does.
const TRIES: u32 = 6;

/// What the log says about one module version.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LookupAnswer {
    /// `path@version`.
    #[serde(with = "text")]
    pub(crate) module: ModuleVersion,
    /// Its record; null when the log does not have it. Not flattened: that would lose the origin in
    /// the evidence, whose JSON is kept as it is.
    pub(crate) found: Option<RecordDetails>,
    /// Whether this request brought it in.
    pub(crate) appended: bool,
    /// The log that was asked.
    pub(crate) log: LogName,
    /// The newest head, under which all of this is true.
    pub(crate) head: PublishedHead,
}

/// A record with everything that is kept about it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RecordDetails {
    /// Its number.
    pub(crate) record: u64,
    /// Its go.sum lines, without line ends.
    pub(crate) lines: Vec<String>,
    /// Its leaf hash, base64.
    #[serde(with = "text")]
    pub(crate) hash: Hash,
    /// When it was committed.
    pub(crate) appended_at: Timestamp,
    /// Why it is in the log.
    pub(crate) evidence: Evidence,
}

/// Which log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LogName {
    /// The name that clients know it by.
    pub(crate) name: String,
    /// Its verifier key.
    pub(crate) verifier: String,
}

/// A published head.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PublishedHead {
    /// Records in the tree.
    pub(crate) size: u64,
    /// Its root hash, base64.
    #[serde(with = "text")]
    pub(crate) root: Hash,
    /// When it was signed.
    pub(crate) signed_at: Timestamp,
    /// The signed note.
    pub(crate) note: String,
}

impl LogName {
    /// The name in a log's identity.
    pub(crate) fn new(identity: &Identity) -> LogName {
        LogName { name: identity.name.clone(), verifier: identity.vkey.clone() }
    }
}

impl LookupAnswer {
    /// Looks a module version up in the database of a log that may be open in another process.
    pub(crate) fn read(
        reader: &dyn LogReader,
        identity: &Identity,
        module: ModuleVersion,
    ) -> Result<LookupAnswer, StoreError> {
        let damaged = |place: String| StoreError::Damaged { place, why: "missing".to_owned() };
        let newest = reader.heads(TreeSize(u64::MAX), 1)?.pop();
        let head = newest.ok_or_else(|| damaged("newest head".to_owned()))?;
        let found = match reader.find(&module, head.tree.size)? {
            Some(record) => {
                let kept = reader.evidence(record.id)?;
                let kept = kept.ok_or_else(|| damaged(format!("evidence of record {}", record.id)))?;
                Some((record, kept))
            }
            None => None,
        };
        Ok(LookupAnswer::new(identity, module, &head, found, false))
    }

    fn new(
        identity: &Identity,
        module: ModuleVersion,
        head: &StoredHead,
        found: Option<(StoredRecord, StoredEvidence)>,
        appended: bool,
    ) -> LookupAnswer {
        let found = found.map(|(StoredRecord { id, lines }, StoredEvidence { appended_at, evidence })| {
            let text = lines.to_text();
            RecordDetails {
                record: id.0,
                lines: text.lines().map(str::to_owned).collect(),
                hash: Hash::of_record(text.as_bytes()),
                appended_at,
                evidence,
            }
        });
        let head = PublishedHead {
            size: head.tree.size.0,
            root: head.tree.root,
            signed_at: head.signed_at,
            note: head.note.clone(),
        };
        LookupAnswer { module, found, appended, log: LogName::new(identity), head }
    }
}

impl Operations {
    /// Looks a module version up in the own log, and asks nobody else.
    pub(crate) fn lookup(&self, module: ModuleVersion) -> Result<LookupAnswer, Refusal> {
        let snapshot = self.own()?.0.snapshot();
        let record = snapshot.find(&module).map_err(|error| self.failed(&error))?;
        self.answer(module, &snapshot, record, false)
    }

    /// Brings a module version into the log by its route, unless it is there.
    pub(crate) async fn notarize(&self, module: ModuleVersion) -> Result<LookupAnswer, Refusal> {
        let (log, notary) = self.own()?;
        let brought = bring_in(log, notary, &module).await;
        let (Notarized { record, snapshot }, is_new) = brought.map_err(|error| Refusal::from(&error))?;
        self.answer(module, &snapshot, Some(record), is_new)
    }

    fn answer(
        &self,
        module: ModuleVersion,
        snapshot: &Snapshot,
        record: Option<StoredRecord>,
        appended: bool,
    ) -> Result<LookupAnswer, Refusal> {
        let identity = self.own()?.0.identity();
        let found = match record {
            Some(record) => {
                let kept = evidence_of(snapshot, record.id).map_err(|error| self.failed(&error))?;
                Some((record, kept))
            }
            None => None,
        };
        Ok(LookupAnswer::new(identity, module, snapshot.head(), found, appended))
    }
}

/// Brings a module version into the log, and says whether it is new there. A source that takes long
/// is waited for until the notary itself gives up on it.
pub(super) async fn bring_in(
    log: &Log,
    notary: &Notary,
    module: &ModuleVersion,
) -> Result<(Notarized, bool), NotaryError> {
    let size = log.snapshot().size();
    let mut tries = TRIES;
    loop {
        tries -= 1;
        match notary.lookup(module.clone(), Claimant::Operator).await {
            Ok(notarized) => {
                let is_new = notarized.record.id.0 >= size.0;
                return Ok((notarized, is_new));
            }
            Err(error) if tries == 0 => return Err(error),
            Err(error) => wait_for_next_try(error).await?,
        }
    }
}

/// Waits until it makes sense to ask the notary again, or returns the error where it never does.
async fn wait_for_next_try(error: NotaryError) -> Result<(), NotaryError> {
    match &error {
        // The next one waits for the work that goes on.
        NotaryError::TryLater { why: Delay::StillWorking { .. }, .. } => Ok(()),
        NotaryError::TryLater { why: Delay::Crowded, retry_after, .. } => {
            sleep(*retry_after).await;
            Ok(())
        }
        _ => Err(error),
    }
}
