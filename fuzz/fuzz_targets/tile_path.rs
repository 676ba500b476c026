//! Tiles: a path that parses is the path of its tile; the path of every possible tile parses to that tile; and the
//! arithmetic of hash indexes, tiles, parents and growth agrees with itself over the whole range of sizes.

#![no_main]
#![forbid(unsafe_code)]

use libfuzzer_sys::fuzz_target;
use tallystick::tlog::{
    HashIndex, MAX_TILE_HEIGHT, MAX_TILE_LEVEL, MAX_TREE_SIZE, Tile, TileLevel, TreeSize, new_tiles,
    split_stored_hash_index, stored_hash_count, stored_hash_index,
};
use tallystick_fuzz::Input;

fuzz_target!(|data: &[u8]| {
    if let Ok(Ok(tile)) = std::str::from_utf8(data).map(Tile::parse) {
        assert_eq!(tile.path().as_bytes(), data);
    }
    let mut input = Input::new(data);
    let height = 1 + input.byte() % MAX_TILE_HEIGHT;
    let level = match input.byte() % (MAX_TILE_LEVEL + 2) {
        level if level <= MAX_TILE_LEVEL => TileLevel::Hash(level),
        _ => TileLevel::Data,
    };
    let (number, size) = (input.number(), input.number() & MAX_TREE_SIZE.0);
    let width = 1 + (input.number() % (1 << height)) as u32;
    check_tile(Tile { height, level, number: number & MAX_TREE_SIZE.0, width }, TreeSize(size));
    check_index(height, HashIndex(number % stored_hash_count(MAX_TREE_SIZE)));
    check_growth(height, size, u64::from(input.byte()));
});

fn check_path(tile: Tile) {
    let path = tile.path();
    assert_eq!(Tile::parse(&path), Ok(tile), "{path}");
}

fn check_tile(tile: Tile, size: TreeSize) {
    check_path(tile);
    check_path(tile.full());
    assert_eq!(tile.is_partial(), tile != tile.full());
    for k in 0..=MAX_TILE_LEVEL {
        let Some(parent) = tile.parent(k, size) else { continue };
        check_path(parent);
        // Its last hash is of a subtree that the tree has.
        let TileLevel::Hash(level) = parent.level else { continue };
        let last = (parent.number << parent.height) + u64::from(parent.width) - 1;
        assert!(stored_hash_index(level * parent.height, last).0 < stored_hash_count(size), "{parent}");
    }
}

fn check_index(height: u8, index: HashIndex) {
    let (level, offset) = split_stored_hash_index(index);
    assert_eq!(stored_hash_index(level, offset), index);
    let tile = Tile::for_hash_index(height, index);
    check_path(tile);
    assert_eq!(tile.level, TileLevel::Hash(level / height));
    // The subtree under the hash ends where the subtree under the tile's last hash ends.
    let last = u128::from(tile.number << height) + u128::from(tile.width);
    assert_eq!(last << (level / height * height), (u128::from(offset) + 1) << level, "{tile} for {index}");
}

fn check_growth(height: u8, old: u64, grown: u64) {
    let new = TreeSize(old.saturating_add(grown).min(MAX_TREE_SIZE.0));
    let old = TreeSize(old);
    let tiles = new_tiles(height, old, new);
    assert_eq!(tiles.is_empty(), old == new);
    for tile in tiles {
        check_path(tile);
        assert_eq!(tile.parent(0, new), Some(tile), "not a tile of size {new}");
        assert_ne!(tile.parent(0, old), Some(tile), "was there at size {old}");
    }
}
