//! From bytes that a URL sent to a record that is proved: what is checked, and in which order.
//!
//! 1. The answer is a record for exactly the module version asked for, followed by a note signed by the log's key.
//! 2. The note's head and the newest head seen belong to one log: the smaller tree is the beginning of the larger.
//! 3. The record is in the larger tree, which is proved by tiles that lead to its root.
//! 4. Heads, tiles and record are durable. Only then is the newest head moved and the record answered.
//!
//! A failure of 1 or 3 proves nothing but that this URL lied; one of 2 convicts the log.

use std::time::Instant;

use super::error::RemoteError;
use super::misbehaviour::Misbehaviour;
use super::tiles::Verified;
use super::{Inner, Proven, TILE_HEIGHT};
use crate::gosum::ModuleLines;
use crate::module::ModuleVersion;
use crate::note;
use crate::store::StoreError;
use crate::store::remote::{Added, Addition, RemoteRecord, RemoteTile, SeenHead};
use crate::tlog::{
    ConsistencyProof, Hash, HashIndex, RecordId, TilePlan, TreeHead, TreeSize, consistency_proof_indexes,
    parse_record, prove_consistency, stored_hash_index, tree_hash, tree_hash_indexes,
};

/// How often a comparison starts again because another look-up moved the newest head meanwhile. Each time the log has
/// grown, which takes longer than a comparison.
const MAX_RACES: usize = 64;

/// Why an answer is not accepted.
pub(super) enum Refusal {
    /// This URL's bytes do not verify. Another may do better.
    Bad(String),
    /// No other URL would help.
    Fatal(RemoteError),
}

impl<E: Into<RemoteError>> From<E> for Refusal {
    fn from(error: E) -> Refusal {
        Refusal::Fatal(error.into())
    }
}

/// A record as a look-up answers it, not yet proved.
pub(super) struct Claim {
    id: RecordId,
    lines: ModuleLines,
    text: String,
    leaf: Hash,
}

impl Inner {
    /// Opens a signed head. The error says what it is instead.
    pub(super) fn open_head(&self, message: &[u8]) -> Result<SeenHead, Refusal> {
        let bad = |why: &dyn std::fmt::Display| Refusal::Bad(format!("reading tree note: {why}"));
        let opened = note::open(message, &[&self.key]).map_err(|error| bad(&error))?;
        let tree = TreeHead::parse(&opened.text).map_err(|error| bad(&error))?;
        if tree.size == TreeSize(0) && tree.root != Hash::EMPTY_TREE {
            return Err(bad(&"an empty tree with a root of its own"));
        }
        let note = String::from_utf8(message.to_vec()).expect("a note that was opened is UTF-8");
        Ok(SeenHead { tree, note, seen_at: self.clock.now() })
    }

    /// Verifies a look-up's answer and keeps it.
    pub(super) async fn accept(
        &self,
        module: &ModuleVersion,
        body: &[u8],
        path: &str,
        deadline: Instant,
    ) -> Result<Proven, Refusal> {
        let bad = |why: &dyn std::fmt::Display| Refusal::Bad(format!("reading record: {why}"));
        let (id, text, rest) = parse_record(body).map_err(|error| bad(&error))?;
        let text = std::str::from_utf8(text).expect("a record that was parsed is UTF-8");
        let lines = match (ModuleLines::find(text, module), ModuleLines::parse(text)) {
            (Some(lines), _) => lines,
            (None, Ok(other)) => return Err(bad(&format!("it is about {}", other.module))),
            (None, Err(error)) => return Err(bad(&error)),
        };
        let head = self.open_head(rest)?;
        let leaf = Hash::of_record(text.as_bytes());
        let claim = Claim { id, lines, text: text.to_owned(), leaf };
        let head = self.reconcile(head, Some(&claim), path, deadline).await?;
        Ok(Proven { lines: claim.lines, text: claim.text, record: id, head })
    }

    /// Compares a signed head with the newest one, proves the claim under the larger of the two, and keeps everything.
    /// Returns the larger head.
    pub(super) async fn reconcile(
        &self,
        offered: SeenHead,
        claim: Option<&Claim>,
        path: &str,
        deadline: Instant,
    ) -> Result<TreeHead, Refusal> {
        for _ in 0..MAX_RACES {
            let newest = self.newest.load_full();
            let known = self.store.head(offered.tree.size)?;
            if let Some(known) = &known
                && known.tree.root != offered.tree.root
            {
                let (root, proof) = (offered.tree.root, ConsistencyProof::default());
                return Err(self.stop(known, &offered, root, proof).await.into());
            }
            let (newer, older) = match newest.as_deref() {
                None => (&offered, None),
                Some(newest) if offered.tree.size > newest.tree.size => (&offered, Some(newest)),
                Some(newest) => (newest, Some(&offered)),
            };
            // A head that is stored was compared with all the others then; the empty tree is the beginning of every tree.
            let older = older.filter(|older| known.is_none() && older.tree.size > TreeSize(0));
            let verified = match self.read(newer, older, claim, path, deadline).await {
                Err(Refusal::Fatal(error @ RemoteError::Unproven(_)))
                    if older.is_some() && claim.is_some() =>
                {
                    // A log that forks shows tiles of the other tree, and one of those may be the record's. The heads alone
                    // need fewer: they convict it where they can.
                    let heads = self.read(newer, older, None, path, deadline).await?;
                    self.compare(newer, older, 0, &heads, path, deadline).await?;
                    return Err(error.into());
                }
                verified => verified?,
            };
            self.compare(newer, older, usize::from(claim.is_some()), &verified, path, deadline).await?;
            let Verified { hashes, tiles } = verified;
            if let Some(claim) = claim
                && hashes[0] != claim.leaf
            {
                return Err(Refusal::Bad(format!("record {} of the log is another one", claim.id)));
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
            match self.store.add(Addition { newest, heads, tiles, record }).await? {
                Added::Done => {
                    // Durable before it is used: a crash here has lost nothing that anybody was told.
                    self.move_newest(&offered);
                    return Ok(tree);
                }
                Added::Raced => self.reload_newest()?,
                Added::Stopped => {
                    self.reload_stopped()?;
                    return Err(self.check_running().err().unwrap_or_else(|| self.too_late(path)).into());
                }
            }
        }
        Err(self.too_late(path).into())
    }

    /// One read for all that is to be verified: the record's hash, then the hashes that give the older tree's root.
    pub(super) async fn read(
        &self,
        newer: &SeenHead,
        older: Option<&SeenHead>,
        claim: Option<&Claim>,
        path: &str,
        deadline: Instant,
    ) -> Result<Verified, Refusal> {
        let mut indexes: Vec<HashIndex> = Vec::new();
        if let Some(claim) = claim {
            if claim.id.0 >= newer.tree.size.0 {
                let why = format!("cannot validate record {} in tree of size {}", claim.id, newer.tree.size);
                return Err(Refusal::Bad(why));
            }
            indexes.push(stored_hash_index(0, claim.id.0));
        }
        if let Some(older) = older {
            indexes.extend(tree_hash_indexes(older.tree.size));
        }
        if indexes.is_empty() {
            return Ok(Verified { hashes: Vec::new(), tiles: Vec::new() });
        }
        let plan = TilePlan::new(&newer.tree, TILE_HEIGHT, &indexes).expect("the hashes are of this tree");
        Ok(self.tiles.read(&plan, &[], path, deadline).await?)
    }

    /// Whether the older head is the beginning of the newer tree. The hashes after the first `skip` are those that give
    /// the root of its beginning. If it is not, the log is stopped.
    pub(super) async fn compare(
        &self,
        newer: &SeenHead,
        older: Option<&SeenHead>,
        skip: usize,
        Verified { hashes, tiles }: &Verified,
        path: &str,
        deadline: Instant,
    ) -> Result<(), Refusal> {
        let Some(older) = older else { return Ok(()) };
        let root = tree_hash(older.tree.size, &hashes[skip..]).expect("as many hashes as were planned");
        if root == older.tree.root {
            return Ok(());
        }
        let proof = self.consistency(newer, older, tiles, path, deadline).await?;
        Err(self.stop(older, newer, root, proof).await.into())
    }

    /// The proof that the newer tree begins as it does. It needs no tile that was not read just now.
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
    pub(super) async fn stop(
        &self,
        older: &SeenHead,
        newer: &SeenHead,
        root_in_newer: Hash,
        proof: ConsistencyProof,
    ) -> RemoteError {
        let misbehaviour = Misbehaviour {
            log: self.name.clone(),
            older: older.note.clone(),
            newer: newer.note.clone(),
            root_in_newer,
            proof,
            seen_at: self.clock.now(),
        };
        if let Err(why) = misbehaviour.verify(&self.key) {
            // Both notes were opened once. One of them, or a tile, is not what was stored then.
            let place = format!("head {} or {}", older.tree.size, newer.tree.size);
            return StoreError::Damaged { place, why: format!("it convicts nobody: {why}") }.into();
        }
        self.stop_for(misbehaviour).await
    }
}
