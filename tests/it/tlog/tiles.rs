//! Verified tile reading against forgers: whatever is changed, and wherever, is refused, and named.

use super::*;

/// The plan for all records of a tree, and the true data of its tiles.
fn plan_for_all_records(log: &MemoryLog, size: u64, height: u8) -> (TilePlan, Vec<Vec<u8>>) {
    let indexes: Vec<HashIndex> = (0..size).map(|id| stored_hash_index(0, id)).collect();
    let plan = TilePlan::new(&log.head(size), height, &indexes).expect("records of the tree");
    let data: Vec<Vec<u8>> = plan.tiles().iter().map(|tile| log.tile_data(tile)).collect();
    assert_eq!(plan.finish(&data).as_deref(), Ok(&log.leaves[..size as usize]));
    (plan, data)
}

/// Is this the error for wrong bytes in `tile`? A tile of the right edge is only known to be among a few.
fn blames(error: &TileError, tile: &Tile) -> bool {
    match error {
        TileError::Edge { tiles, .. } => tiles.contains(tile),
        TileError::Mismatch { tile: blamed, parent } => {
            blamed == tile && !tile.is_partial() && parent != tile
        }
        _ => false,
    }
}

/// Flips bits of every tile, each of them with the plan of all records; returns how many.
fn flip(log: &MemoryLog, size: u64, height: u8, bits_of_byte: impl Fn(usize) -> Vec<u8>) -> usize {
    let (plan, mut data) = plan_for_all_records(log, size, height);
    let mut flips = 0;
    for (position, tile) in plan.tiles().iter().enumerate() {
        for byte in 0..data[position].len() {
            for bit in bits_of_byte(byte) {
                data[position][byte] ^= 1 << bit;
                let error = plan.finish(&data).expect_err("a forged tile");
                assert!(blames(&error, tile), "size {size}, byte {byte} bit {bit} of {tile}: {error}");
                data[position][byte] ^= 1 << bit;
                flips += 1;
            }
        }
    }
    assert!(plan.finish(&data).is_ok());
    flips
}

#[test]
fn every_bit_of_every_tile_of_height_2() {
    let log = MemoryLog::new(40);
    for size in [1, 2, 3, 4, 5, 15, 16, 17, 21, 33] {
        assert!(flip(&log, size, 2, |_| (0..8).collect()) >= size as usize * 256, "size {size}");
    }
}

#[test]
fn every_byte_of_every_tile_of_all_small_trees() {
    let log = MemoryLog::new(40);
    for height in [1, 2, 3] {
        for size in 1..=40 {
            flip(&log, size, height, |byte| vec![(byte % 8) as u8]);
        }
    }
}

#[test]
fn every_byte_of_every_tile_of_height_8() {
    // 1/000.p/2 and 0/002.p/8 are the edge, 0/000 and 0/001 hang below it.
    let log = MemoryLog::new(520);
    assert_eq!(flip(&log, 520, 8, |byte| vec![(byte % 8) as u8]), 32 * (2 + 8 + 256 + 256));
}

#[test]
fn every_tile_of_a_path_is_checked_not_only_the_last() {
    // golang/go#80744: with several hashes of the edge in one tile, the first tiles after the edge went unchecked, so
    // a forger could serve any tile there. Here the tile is forged, and everything below it to match.
    let log = MemoryLog::new(100);
    let forged = MemoryLog { leaves: vec![], stored: log.stored.iter().map(|h| flipped(h, 3)).collect() };
    for height in [1, 2, 3] {
        for size in 1..=100 {
            let head = log.head(size);
            for id in [0, size / 3, size - 1] {
                let index = stored_hash_index(0, id);
                let plan = TilePlan::new(&head, height, &[index]).unwrap();
                for forged_from in 0..plan.tiles().len() {
                    let tile_data = |(position, tile)| {
                        let source = if position < forged_from { &log } else { &forged };
                        source.tile_data(tile)
                    };
                    let data: Vec<Vec<u8>> = plan.tiles().iter().enumerate().map(tile_data).collect();
                    let error = plan.finish(&data).expect_err("forged");
                    assert!(blames(&error, &plan.tiles()[forged_from]), "{id} of {head}: {error}");
                }
            }
        }
    }
}

#[test]
fn a_forged_subtree_that_is_consistent_in_itself_is_refused_where_it_meets_the_tree() {
    // The server makes up a whole subtree, each tile matching its parent, but for the one at the signed tree.
    let log = MemoryLog::new(64);
    let mut other = MemoryLog::new(64);
    other.leaves[1] = flipped(&other.leaves[1], 0);
    let mut stored = Vec::new();
    for id in 0..64usize {
        for level in 0..=(id + 1).trailing_zeros() {
            stored.push(oracle::root(&other.leaves[id + 1 - (1 << level)..=id]));
        }
    }
    other.stored = stored;
    let plan = TilePlan::new(&log.head(63), 2, &[stored_hash_index(0, 1)]).unwrap();
    let top = Tile::parse("tile/2/1/000").unwrap();
    assert!(plan.tiles().contains(&top));
    let edge_level = |tile: &Tile| tile.is_partial();
    let data: Vec<Vec<u8>> = plan
        .tiles()
        .iter()
        .map(|tile| if edge_level(tile) { log.tile_data(tile) } else { other.tile_data(tile) })
        .collect();
    let error = plan.finish(&data).expect_err("forged");
    assert!(matches!(&error, TileError::Mismatch { tile, .. } if *tile == top), "{error}");
}

#[test]
fn data_of_another_length_is_refused_by_name() {
    let log = MemoryLog::new(40);
    for (height, size) in [(2, 33), (2, 16), (8, 40)] {
        let (plan, data) = plan_for_all_records(&log, size, height);
        for (position, tile) in plan.tiles().iter().enumerate() {
            let want = data[position].len();
            for got in [0, 1, 31, want - 32, want - 1, want + 1, want + 32, 2 * want] {
                let mut data = data.clone();
                data[position].resize(got, 0);
                let result = plan.finish(&data);
                if got != want {
                    assert_eq!(result, Err(TileError::Length { tile: *tile, want, got }));
                }
            }
        }
        let want = data.len();
        let counts = [data[1..].to_vec(), [&data[..], &data[..1]].concat(), vec![]];
        for data in counts.iter().filter(|data| data.len() != want) {
            assert_eq!(plan.finish(data), Err(TileError::TileCount { want, got: data.len() }));
        }
    }
}

#[test]
fn swapped_tiles_are_refused() {
    let (plan, data) = plan_for_all_records(&MemoryLog::new(40), 40, 2);
    for a in 0..data.len() {
        for b in 0..a {
            let mut data = data.clone();
            data.swap(a, b);
            assert!(plan.finish(&data).is_err(), "{} and {}", plan.tiles()[a], plan.tiles()[b]);
        }
    }
}

#[test]
fn another_root_or_size_is_refused() {
    let log = MemoryLog::new(40);
    let tiles = |plan: &TilePlan| -> Vec<Vec<u8>> { plan.tiles().iter().map(|t| log.tile_data(t)).collect() };
    for size in 0..40 {
        let head = log.head(size);
        let plan = TilePlan::new(&head, 2, &[]).unwrap();
        assert_eq!(plan.finish(&tiles(&plan)), Ok(vec![]));
        let wrong_root = TreeHead { root: flipped(&head.root, size as usize), ..head };
        let wrong_size = TreeHead { size: TreeSize(size + 1), ..head };
        for wrong in [wrong_root, wrong_size] {
            let plan = TilePlan::new(&wrong, 2, &[]).unwrap();
            let error = plan.finish(&tiles(&plan)).expect_err("wrong head");
            assert!(matches!(error, TileError::Edge { .. }), "{wrong}: {error}");
        }
    }
}

#[test]
fn plans_for_what_is_not_there_are_refused() {
    let log = MemoryLog::new(40);
    let head = log.head(40);
    for height in [0, 31, 255] {
        assert_eq!(TilePlan::new(&head, height, &[]).unwrap_err(), TileError::Height { height });
    }
    for index in [stored_hash_count(head.size), stored_hash_count(head.size) + 1, u64::MAX].map(HashIndex) {
        let error = TilePlan::new(&head, 2, &[index]).unwrap_err();
        assert_eq!(error, TileError::IndexOutsideTree { index, size: head.size });
    }
    let empty = log.head(0);
    assert!(TilePlan::new(&empty, 8, &[HashIndex(0)]).is_err());
    let size = TreeSize(MAX_TREE_SIZE.0 + 1);
    let error = TilePlan::new(&TreeHead { size, ..head }, 8, &[]).unwrap_err();
    assert_eq!(error, TileError::TreeTooLarge { size });
}

#[test]
fn the_largest_head_is_planned_without_overflow() {
    // A hostile server may sign any size; what follows must be an error, not a panic.
    let head = TreeHead { size: MAX_TREE_SIZE, root: Hash::EMPTY_TREE };
    for height in 1..=MAX_TILE_HEIGHT {
        let indexes = [0, 1 << 40, 1 << 62, stored_hash_count(MAX_TREE_SIZE) - 1].map(HashIndex);
        let plan = TilePlan::new(&head, height, &indexes).unwrap();
        assert!(plan.tiles().len() <= 63 * 5);
        let short: Vec<Vec<u8>> = plan.tiles().iter().map(|_| vec![]).collect();
        assert!(matches!(plan.finish(&short), Err(TileError::Length { .. })));
    }
}

#[test]
fn hashes_of_a_tile() {
    let log = MemoryLog::new(100);
    for height in [1, 2, 3, 8] {
        // Each tile also at every narrower width, as older trees had it.
        let widths = |tile: Tile| (1..=tile.width.min(16)).map(move |width| Tile { width, ..tile });
        for tile in new_tiles(height, TreeSize(0), TreeSize(100)).into_iter().flat_map(widths) {
            let data = log.tile_data(&tile);
            for index in (0..stored_hash_count(TreeSize(100))).map(HashIndex) {
                let narrow = Tile::for_hash_index(height, index);
                let inside = (narrow.level, narrow.number) == (tile.level, tile.number);
                let want = if inside && narrow.width <= tile.width {
                    Ok(log.stored[index.0 as usize])
                } else {
                    Err(TileError::IndexOutsideTile { index, tile })
                };
                assert_eq!(tile.hash_at(&data, index), want);
            }
            assert!(matches!(tile.hash_at(&data[1..], HashIndex(0)), Err(TileError::Length { .. })));
            let outside = tile.hash_at(&data, HashIndex(u64::MAX));
            assert!(matches!(outside, Err(TileError::IndexOutsideTile { .. })));
        }
    }
}

#[test]
fn roots_of_full_tiles_are_in_their_parents() {
    let log = MemoryLog::new(100);
    let size = TreeSize(100);
    for height in [1, 2, 3] {
        let mut parents = 0;
        for tile in new_tiles(height, TreeSize(0), size) {
            assert_eq!(tile.parent(0, size), Some(tile), "as wide as it is in the tree");
            if tile.is_partial() {
                continue;
            }
            let parent = tile.parent(1, size).unwrap();
            let TileLevel::Hash(level) = parent.level else { panic!("{parent}") };
            let index = stored_hash_index(level * height, tile.number);
            let data = log.tile_data(&tile);
            let hashes: Vec<Hash> = data.chunks(32).map(|hash| Hash::from_slice(hash).unwrap()).collect();
            assert_eq!(parent.hash_at(&log.tile_data(&parent), index), Ok(tile_root(&hashes)));
            parents += 1;
        }
        assert!(parents > 10);
    }
    let data = Tile::parse("tile/2/data/003").unwrap();
    assert_eq!(data.parent(0, TreeSize(14)), Some(Tile { width: 2, ..data }), "records 12 and 13");
    assert_eq!(data.parent(1, TreeSize(16)), Some(Tile::parse("tile/2/1/000").unwrap()));
    let beyond = Tile::parse("tile/8/0/x123/456").unwrap();
    assert_eq!(beyond.parent(0, size), None);
    assert_eq!(Tile { level: TileLevel::Hash(63), ..beyond }.parent(1, MAX_TREE_SIZE), None);
    assert_eq!(beyond.full(), beyond);
    assert_eq!(Tile::parse("tile/8/0/000.p/7").unwrap().full(), Tile::parse("tile/8/0/000").unwrap());
}

#[test]
fn tile_roots_are_those_of_the_oracle() {
    let log = MemoryLog::new(256);
    for width in (0..=8).map(|power| 1 << power) {
        assert_eq!(tile_root(&log.leaves[..width]), oracle::root(&log.leaves[..width]), "width {width}");
    }
    for width in [0, 3, 255] {
        assert!(std::panic::catch_unwind(|| tile_root(&log.leaves[..width])).is_err(), "width {width}");
    }
}
