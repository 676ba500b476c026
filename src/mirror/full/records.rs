//! Records of a log as they are asked for, verified and kept nowhere: for who only looks at what is new.

use std::sync::Arc;

use bytes::Bytes;

use super::ReplicateError;
use super::fetch::{PATIENCE, Traffic, Verdict};
use crate::mirror::{RemoteError, RemoteLog, TILE_HEIGHT};
use crate::store::TILE_WIDTH;
use crate::tlog::{
    Hash, InclusionProof, RecordId, Tile, TileLevel, TilePlan, TreeHead, inclusion_proof_indexes,
    prove_inclusion, split_data_tile, stored_hash_index, verify_inclusion,
};

impl RemoteLog {
    /// The texts of the records of data tile `number`, as many as are under `head`, a head that was compared: each has the hash
    /// that the verified tree has for it.
    pub async fn read_records(&self, number: u64, head: &TreeHead) -> Result<Vec<String>, ReplicateError> {
        let inner = &self.0;
        let first = number * TILE_WIDTH;
        assert!(first < head.size.0, "tile {number} is beyond {head}");
        let width = (head.size.0 - first).min(TILE_WIDTH);
        let tile = Tile { height: TILE_HEIGHT, level: TileLevel::Data, number, width: width as u32 };
        let indexes: Vec<_> = (first..first + width).map(|id| stored_hash_index(0, id)).collect();
        let plan = TilePlan::new(head, TILE_HEIGHT, &indexes).expect("the hashes are of this tree");
        let deadline = inner.clock.instant() + PATIENCE;
        let leaves = Arc::new(inner.tiles.read(&plan, &[], &tile.path(), deadline).await?.hashes);
        let verify = |body: Bytes, _| {
            let leaves = leaves.clone();
            async move { texts_of(&body, &leaves).map_or_else(Verdict::Bad, Verdict::Good) }
        };
        inner.data_tile(&tile, &Traffic::default(), 1, verify).await
    }

    /// The proof that a record with this hash is under `head`, a head that was compared.
    pub async fn prove_under(
        &self,
        record: RecordId,
        leaf: &Hash,
        head: &TreeHead,
    ) -> Result<InclusionProof, RemoteError> {
        let inner = &self.0;
        let indexes = inclusion_proof_indexes(head.size, record).expect("the record is in the tree");
        let plan = TilePlan::new(head, TILE_HEIGHT, &indexes).expect("the hashes are of this tree");
        let deadline = inner.clock.instant() + PATIENCE;
        let hashes = inner.tiles.read(&plan, &[], "proof", deadline).await?.hashes;
        let proof = prove_inclusion(head.size, record, &hashes).expect("as many hashes as were planned");
        verify_inclusion(&proof, head.size, &head.root, record, leaf)
            .expect("verified hashes lead from a verified leaf to the root");
        Ok(proof)
    }
}

/// The first records of a tile, if they have these hashes. A full tile may come for a partial one that is gone.
fn texts_of(body: &[u8], leaves: &[Hash]) -> Result<Vec<String>, String> {
    let texts = split_data_tile(body).map_err(|error| error.to_string())?;
    if texts.len() < leaves.len() {
        return Err(format!("{} records, not {}", texts.len(), leaves.len()));
    }
    let wrong = texts.iter().zip(leaves).position(|(text, leaf)| Hash::of_record(text.as_bytes()) != *leaf);
    match wrong {
        Some(at) => Err(format!("its record {at} is another one")),
        None => Ok(texts[..leaves.len()].iter().map(|text| (*text).to_owned()).collect()),
    }
}
