//! The right edge of the verified prefix as it grows by full data tiles, and the root that it has.

use crate::store::replica::Edge;
use crate::store::{FullTile, TILE_WIDTH};
use crate::tlog::{Hash, TreeHead, TreeSize, row_root, tile_root};

/// Takes in the root of the next full data tile. Tiles of level 1 and up that it completes are added to `full`. Records that
/// were at the edge are in the tile now.
pub(super) fn push_tile(edge: &mut Edge, root: Hash, full: &mut Vec<FullTile>) {
    edge.texts.clear();
    edge.size = TreeSize(edge.sealed() + TILE_WIDTH);
    let mut carry = root;
    for level in 1.. {
        let at = usize::from(level) - 1;
        if edge.levels.len() == at {
            edge.levels.push(Vec::new());
        }
        edge.levels[at].push(carry);
        if (edge.levels[at].len() as u64) < TILE_WIDTH {
            return;
        }
        let hashes = std::mem::take(&mut edge.levels[at]);
        carry = tile_root(&hashes);
        let number = (edge.size.0 >> (8 * (u32::from(level) + 1))) - 1;
        full.push(FullTile { level, number, hashes });
    }
}

/// Puts the records of the unfinished data tile at the edge, instead of those that were there.
pub(super) fn set_texts(edge: &mut Edge, texts: Vec<String>) {
    assert!((texts.len() as u64) < TILE_WIDTH, "an unfinished tile has at most 255 records");
    edge.size = TreeSize(edge.sealed() + texts.len() as u64);
    edge.texts = texts;
}

/// Size and root of the tree that ends at this edge.
pub(super) fn tree(edge: &Edge) -> TreeHead {
    let leaves: Vec<Hash> = edge.texts.iter().map(|text| Hash::of_record(text.as_bytes())).collect();
    let mut root = row_root(&leaves);
    for hashes in &edge.levels {
        // What lies to the right of a level's hashes is shorter than what one of them covers. RFC 6962 splits at the largest
        // power of two, so it is as if it were one more leaf of this level.
        let mut row = hashes.clone();
        row.extend(root);
        root = row_root(&row);
    }
    TreeHead { size: edge.size, root: root.unwrap_or(Hash::EMPTY_TREE) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edge_has_the_root_of_all_records_at_every_size() {
        let texts: Vec<String> = (0..256 * 260 + 7).map(|n| format!("record {n}\n")).collect();
        let leaves: Vec<Hash> = texts.iter().map(|text| Hash::of_record(text.as_bytes())).collect();
        let (mut edge, mut full) = (Edge::default(), Vec::new());
        for number in 0..=260 {
            for width in [0, 1, 2, 7, 255] {
                let end = number * 256 + width;
                if end > texts.len() {
                    continue;
                }
                let mut edge = edge.clone();
                set_texts(&mut edge, texts[number * 256..end].to_vec());
                // Every hundredth tile and the first ones: a root of all records is computed anew each time.
                if number < 4 || number % 64 == 0 || number > 255 {
                    let root = row_root(&leaves[..end]).unwrap_or(Hash::EMPTY_TREE);
                    assert_eq!(tree(&edge), TreeHead { size: TreeSize(end as u64), root });
                }
            }
            if number < 260 {
                push_tile(&mut edge, tile_root(&leaves[number * 256..][..256]), &mut full);
            }
        }
        let [tile] = &full[..] else { panic!("one tile of level 1 is full") };
        assert_eq!((tile.level, tile.number, tile.hashes.len()), (1, 0, 256));
        assert_eq!(edge.level(2), [tile_root(&tile.hashes)]);
    }
}
