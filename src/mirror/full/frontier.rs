//! The right edge of the verified prefix as it grows by full data tiles, and the root that it has.

use super::super::TILE_HEIGHT;
use crate::store::replica::Edge;
use crate::store::{FullTile, TILE_WIDTH};
use crate::tlog::{Hash, TreeHead, TreeSize, edge_root, push_tile_root};

/// Takes in the root of the next full data tile. Tiles of level 1 and up that it completes are added to `full`. Records that
/// were at the edge are in the tile now.
pub(super) fn push_tile(edge: &mut Edge, root: Hash, full: &mut Vec<FullTile>) {
    edge.texts.clear();
    edge.size = TreeSize(edge.sealed() + TILE_WIDTH);
    let number = |level: u8| (edge.size.0 >> (8 * (u32::from(level) + 1))) - 1;
    let completed = push_tile_root(TILE_HEIGHT, &mut edge.levels, root);
    full.extend(completed.into_iter().map(|(level, hashes)| FullTile {
        level,
        number: number(level),
        hashes,
    }));
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
    TreeHead { size: edge.size, root: edge_root(&edge.levels, &leaves) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tlog::{row_root, tile_root};

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
