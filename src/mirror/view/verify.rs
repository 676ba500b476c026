//! From bytes that a URL sent to a record that is proved: what is checked, and in which order.
//!
//! 1. The answer is a record for exactly the module version asked for, followed by a note signed by
//!    the log's key.
//! 2. The note's head and the newest head seen belong to one log: the smaller tree is the beginning
//!    of the larger.
//! 3. The record is in the larger tree, which is proved by tiles that lead to its root.
//! 4. Heads, tiles and record are durable. Only then is the newest head moved and the record
//!    answered.
//!
//! A failure of 1 or 3 proves nothing but that this URL lied; one of 2 convicts the log.

use std::sync::Arc;
use std::time::Instant;

use super::error::{Lie, RemoteError};
use super::known::KnownLog;
use super::limits::RemoteLimits;
use super::misbehavior::Misbehavior;
use super::prove::ProvenRecord;
use super::tiles::{TileReader, VerifiedHashes};
use crate::gosum::ModuleLines;
use crate::module::ModuleVersion;
use crate::note;
use crate::store::StoreError;
use crate::store::remote::{Added, Addition, RemoteRecord, RemoteTile, SeenHead};
use crate::tlog::{
    ConsistencyProof, Hash, HashIndex, RecordId, TILE_HEIGHT, TilePlan, TreeHead, TreeSize,
    consistency_proof_indexes, parse_record, prove_consistency, stored_hash_index, tree_hash,
    tree_hash_indexes,
};
use crate::upstream::{Inquiry, RemoteSumdb, SumdbAnswer};

/// How often a comparison starts again because another look-up moved the newest head meanwhile.
/// Each time the log has grown, which takes longer than a comparison.
const MAX_RACES: usize = 64;

/// Why an answer is not accepted.
pub(in crate::mirror) enum NotVerified {
    /// This URL's bytes do not verify. Another may do better.
    Bad(String),
    /// No other URL would help.
    Fatal(RemoteError),
}

impl<E: Into<RemoteError>> From<E> for NotVerified {
    fn from(error: E) -> NotVerified {
        NotVerified::Fatal(error.into())
    }
}

/// A record as a look-up answers it, not yet proved.
pub(super) struct ClaimedRecord {
    id: RecordId,
    lines: ModuleLines,
    text: String,
    leaf: Hash,
}

/// Verifies what the URLs of one log send, against everything that is known of the log. The replica
/// reads its heads and hash tiles through this.
pub(in crate::mirror) struct LogVerifier {
    /// Shared with the verifiers of the same log at other URLs.
    known: Arc<KnownLog>,
    transport: RemoteSumdb,
    pub(super) tiles: Arc<TileReader>,
}

impl LogVerifier {
    /// Verifies what these URLs send.
    pub(super) fn new(known: Arc<KnownLog>, transport: RemoteSumdb, limits: &RemoteLimits) -> LogVerifier {
        let tiles = TileReader::new(known.clone(), transport.clone(), limits);
        LogVerifier { known, transport, tiles: Arc::new(tiles) }
    }

    /// Verifies the same log where it is read from elsewhere.
    pub(in crate::mirror) fn at(&self, transport: RemoteSumdb) -> LogVerifier {
        LogVerifier::new(self.known.clone(), transport, &RemoteLimits::default())
    }

    /// Returns what is known of the log.
    pub(in crate::mirror) fn known(&self) -> &Arc<KnownLog> {
        &self.known
    }

    /// Returns where the log is read.
    pub(in crate::mirror) fn transport(&self) -> &RemoteSumdb {
        &self.transport
    }

    /// Opens a signed head. The error says what it is instead.
    pub(in crate::mirror) fn open_head(&self, message: &[u8]) -> Result<SeenHead, NotVerified> {
        let bad = |why: &dyn std::fmt::Display| NotVerified::Bad(format!("reading tree note: {why}"));
        let opened = note::open(message, &[&self.known.key]).map_err(|error| bad(&error))?;
        let tree = TreeHead::parse(&opened.text).map_err(|error| bad(&error))?;
        if tree.size == TreeSize(0) && tree.root != Hash::EMPTY_TREE {
            return Err(bad(&"an empty tree with a root of its own"));
        }
        let note = String::from_utf8(message.to_vec()).expect("a note that was opened is UTF-8");
        Ok(SeenHead { tree, note, seen_at: self.known.clock.now() })
    }

    /// Verifies a look-up's answer and stores it.
    pub(super) async fn accept(
        &self,
        module: &ModuleVersion,
        body: &[u8],
        path: &str,
        deadline: Instant,
    ) -> Result<ProvenRecord, NotVerified> {
        let bad = |why: &dyn std::fmt::Display| NotVerified::Bad(format!("reading record: {why}"));
        let (id, text, rest) = parse_record(body).map_err(|error| bad(&error))?;
        let text = std::str::from_utf8(text).expect("a record that was parsed is UTF-8");
        let lines = match (ModuleLines::find(text, module), ModuleLines::parse(text)) {
            (Some(lines), _) => lines,
            (None, Ok(other)) => return Err(bad(&format!("it is about {}", other.module))),
            (None, Err(error)) => return Err(bad(&error)),
        };
        let head = self.open_head(rest)?;
        let leaf = Hash::of_record(text.as_bytes());
        let claim = ClaimedRecord { id, lines, text: text.to_owned(), leaf };
        let head = self.reconcile_with(head, Some(&claim), path, deadline).await?;
        Ok(ProvenRecord { lines: claim.lines, text: claim.text, record: id, head })
    }

    /// Compares a signed head with the newest one and stores it. Returns the larger of the two.
    pub(in crate::mirror) async fn reconcile(
        &self,
        offered: SeenHead,
        path: &str,
        deadline: Instant,
    ) -> Result<TreeHead, NotVerified> {
        self.reconcile_with(offered, None, path, deadline).await
    }

    /// Does the same, and proves a claim under the larger head before everything is stored.
    async fn reconcile_with(
        &self,
        offered: SeenHead,
        claim: Option<&ClaimedRecord>,
        path: &str,
        deadline: Instant,
    ) -> Result<TreeHead, NotVerified> {
        for _ in 0..MAX_RACES {
            let newest = self.known.newest();
            let known = self.known.store.head(offered.tree.size)?;
            if let Some(known) = &known
                && known.tree.root != offered.tree.root
            {
                let (root, proof) = (offered.tree.root, ConsistencyProof::default());
                return Err(self.convict(known, &offered, root, proof).await.into());
            }
            let (newer, older) = match newest.as_deref() {
                None => (&offered, None),
                Some(newest) if offered.tree.size > newest.tree.size => (&offered, Some(newest)),
                Some(newest) => (newest, Some(&offered)),
            };
            // A head that is stored was compared with all the others then; the empty tree is the
            // beginning of every tree.
            let older = older.filter(|older| known.is_none() && older.tree.size > TreeSize(0));
            let verified = match self.read(newer, older, claim, path, deadline).await {
                Err(NotVerified::Fatal(error @ RemoteError::Unproven(_)))
                    if older.is_some() && claim.is_some() =>
                {
                    // A log that forks shows tiles of the other tree, and one of those may be the
                    // record's. The heads alone need fewer: they convict it where they can.
                    let heads = self.read(newer, older, None, path, deadline).await?;
                    self.compare(newer, older, 0, &heads, path, deadline).await?;
                    return Err(error.into());
                }
                verified => verified?,
            };
            self.compare(newer, older, usize::from(claim.is_some()), &verified, path, deadline).await?;
            let VerifiedHashes { hashes, tiles } = verified;
            if let Some(claim) = claim
                && hashes[0] != claim.leaf
            {
                return Err(NotVerified::Bad(format!("record {} of the log is another one", claim.id)));
            }
            let tree = newer.tree;
            let record = claim.map(|claim| RemoteRecord {
                id: claim.id,
                text: claim.text.clone(),
                lines: claim.lines.clone(),
                head_size: tree.size,
            });
            let heads = if known.is_none() { vec![offered.clone()] } else { Vec::new() };
            let newest = newest.as_ref().map(|newest| newest.tree);
            match self.known.store.add(Addition { newest, heads, tiles, record }).await? {
                Added::Done => {
                    // Durable before it is used: a crash here has lost nothing that was answered.
                    self.known.publish(&offered);
                    return Ok(tree);
                }
                Added::Raced => self.known.reload_newest()?,
                Added::Stopped => {
                    self.known.reload_incident()?;
                    let stopped = self.known.check_running().err();
                    return Err(stopped.unwrap_or_else(|| self.too_late(path)).into());
                }
            }
        }
        Err(self.too_late(path).into())
    }

    /// Reads at once all that is to be verified: the record's hash, then the hashes that give the
    /// older tree's root.
    pub(super) async fn read(
        &self,
        newer: &SeenHead,
        older: Option<&SeenHead>,
        claim: Option<&ClaimedRecord>,
        path: &str,
        deadline: Instant,
    ) -> Result<VerifiedHashes, NotVerified> {
        let mut indexes: Vec<HashIndex> = Vec::new();
        if let Some(claim) = claim {
            if claim.id.0 >= newer.tree.size.0 {
                let why = format!("cannot validate record {} in tree of size {}", claim.id, newer.tree.size);
                return Err(NotVerified::Bad(why));
            }
            indexes.push(stored_hash_index(0, claim.id.0));
        }
        if let Some(older) = older {
            indexes.extend(tree_hash_indexes(older.tree.size));
        }
        if indexes.is_empty() {
            return Ok(VerifiedHashes { hashes: Vec::new(), tiles: Vec::new() });
        }
        let plan = TilePlan::new(&newer.tree, TILE_HEIGHT, &indexes).expect("the hashes are of this tree");
        Ok(self.tiles.read(&plan, &[], path, deadline).await?)
    }

    /// Checks that the older head is the beginning of the newer tree, and stops the log if it is
    /// not. The hashes after the first `skip` are those that give the root of that beginning.
    pub(super) async fn compare(
        &self,
        newer: &SeenHead,
        older: Option<&SeenHead>,
        skip: usize,
        VerifiedHashes { hashes, tiles }: &VerifiedHashes,
        path: &str,
        deadline: Instant,
    ) -> Result<(), NotVerified> {
        let Some(older) = older else { return Ok(()) };
        let root = tree_hash(older.tree.size, &hashes[skip..]).expect("as many hashes as were planned");
        if root == older.tree.root {
            return Ok(());
        }
        let proof = self.consistency(newer, older, tiles, path, deadline).await?;
        Err(self.convict(older, newer, root, proof).await.into())
    }

    /// Proves that the newer tree begins as it does. It needs no tile that was not read just now.
    pub(super) async fn consistency(
        &self,
        newer: &SeenHead,
        older: &SeenHead,
        tiles: &[RemoteTile],
        path: &str,
        deadline: Instant,
    ) -> Result<ConsistencyProof, RemoteError> {
        let (size, old) = (newer.tree.size, older.tree.size);
        if size == old {
            return Ok(ConsistencyProof::default());
        }
        let indexes = consistency_proof_indexes(size, old).expect("the older tree is smaller and not empty");
        let plan = TilePlan::new(&newer.tree, TILE_HEIGHT, &indexes).expect("the hashes are of this tree");
        let hashes = self.tiles.read(&plan, tiles, path, deadline).await?.hashes;
        Ok(prove_consistency(size, old, &hashes).expect("as many hashes as were planned"))
    }

    /// Stops this log, with the evidence.
    pub(super) async fn convict(
        &self,
        older: &SeenHead,
        newer: &SeenHead,
        root_in_newer: Hash,
        proof: ConsistencyProof,
    ) -> RemoteError {
        let misbehavior = Misbehavior {
            log: self.known.name.clone(),
            older: older.note.clone(),
            newer: newer.note.clone(),
            root_in_newer,
            proof,
            seen_at: self.known.clock.now(),
        };
        if let Err(why) = misbehavior.verify(&self.known.key) {
            // Both notes were opened once. One of them, or a tile, is not what was stored then.
            let place = format!("head {} or {}", older.tree.size, newer.tree.size);
            return StoreError::Damaged { place, why: format!("it convicts nobody: {why}") }.into();
        }
        self.known.convict(misbehavior).await
    }

    /// Compares the replica's newest head with the others, unless it is one of them: one of the two
    /// databases may come from a backup or was made anew, and a fork must not pass for that.
    pub(super) async fn compare_replicated(&self, path: &str, deadline: Instant) -> Result<(), RemoteError> {
        match self.known.replicated_head() {
            Some(head) => self.compare_stored(&head, path, deadline).await,
            None => Ok(()),
        }
    }

    /// Compares a head from a replica with the others, unless it is one of them.
    pub(in crate::mirror) async fn compare_stored(
        &self,
        head: &SeenHead,
        path: &str,
        deadline: Instant,
    ) -> Result<(), RemoteError> {
        if self.known.store.head(head.tree.size)?.is_some_and(|known| known.tree == head.tree) {
            return Ok(());
        }
        match self.reconcile(head.clone(), path, deadline).await {
            Ok(_) => Ok(()),
            Err(NotVerified::Fatal(error)) => Err(error),
            Err(NotVerified::Bad(text)) => Err(RemoteError::Unavailable { text, retry_after: None }),
        }
    }

    /// Waits for the next URL's answer.
    pub(super) async fn ask(
        &self,
        inquiry: &mut Inquiry,
        path: &str,
        lies: &mut Vec<Lie>,
    ) -> Result<SumdbAnswer, RemoteError> {
        let answer = inquiry.next().await;
        answer.map_err(|error| RemoteError::unanswered(&error, path, std::mem::take(lies)))
    }

    /// Marks the URL of an answer that does not verify.
    pub(super) fn refuse(&self, answer: SumdbAnswer, why: String, lies: &mut Vec<Lie>) {
        tracing::warn!(url = %answer.url, why, "a URL of a remote log sent what is not taken");
        self.transport.mark_bad(answer.from, &why);
        lies.push(Lie { url: answer.url, why });
    }

    /// Time ran out; a URL that has failed lately may be why.
    pub(super) fn too_late(&self, path: &str) -> RemoteError {
        let failed = self.transport.health().into_iter().filter(|(_, health)| health.failures > 0);
        let whys = failed.filter_map(|(_, health)| health.why);
        RemoteError::too_late(&self.known.name, path).with_lines(whys)
    }
}
