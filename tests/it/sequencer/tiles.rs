//! However records arrive, the tree, its tiles and its proofs are those that tlog computes.

use tallystick::clock::Clock;
use tallystick::log::{Conditions, Log, Snapshot};
use tallystick::store::memory::{Disk, MemoryStore};
use tallystick::store::sqlite::SqliteStore;
use tallystick::store::{LogParts, LogStore};
use tallystick::tlog::{
    HashIndex, Tile, TileLevel, TreeSize, new_tiles, stored_hash_count, tree_hash, tree_hash_indexes,
};

use crate::support::logs::{candidates, clock, identity_of, leaf, lines, signer};
use crate::support::tree::Tree;

fn data_tile(number: u64, width: u64) -> Vec<u8> {
    (number * 256..number * 256 + width)
        .flat_map(|i| format!("{}\n", lines(i).to_text()).into_bytes())
        .collect()
}

/// Every tile of the tree, full and at the end of its level, is what tlog computes.
fn check_tiles(snapshot: &Snapshot, tree: &Tree) {
    for tile in new_tiles(8, TreeSize(0), snapshot.size()) {
        check_tile(snapshot, tree, tile);
    }
}

fn check_tile(snapshot: &Snapshot, tree: &Tree, tile: Tile) {
    assert!(
        snapshot.tile(&tile).unwrap().unwrap() == tree.tile(&tile),
        "{} at {}",
        tile.path(),
        snapshot.size()
    );
    if tile.level == TileLevel::Hash(0) {
        let data = Tile { level: TileLevel::Data, ..tile };
        let expected = data_tile(tile.number, u64::from(tile.width));
        assert!(snapshot.tile(&data).unwrap().unwrap() == expected, "{} at {}", data.path(), snapshot.size());
    }
}

/// Every tile of every width that a client of this or of an older head may ask for, and none beyond.
fn check_every_width(snapshot: &Snapshot, tree: &Tree) {
    for full in new_tiles(8, TreeSize(0), snapshot.size()) {
        for width in 1..=full.width {
            check_tile(snapshot, tree, Tile { width, ..full });
        }
        for level in [full.level, TileLevel::Data] {
            let here = Tile { level, ..full };
            let beyond = Tile { width: full.width + 1, ..here };
            let next = Tile { number: full.number + 1, width: 1, ..here };
            let is_last = full.is_partial();
            for absent in [beyond, next].into_iter().filter(|tile| {
                is_last && tile.width <= 256 && (level != TileLevel::Data || full.level == TileLevel::Hash(0))
            }) {
                assert_eq!(snapshot.tile(&absent).unwrap(), None, "{} at {}", absent.path(), snapshot.size());
            }
        }
    }
    for path in [
        "tile/8/7/000",
        "tile/8/8/000.p/1",
        "tile/8/63/000.p/1",
        "tile/8/0/x999/x999/x999/999",
        "tile/7/0/000",
        "tile/9/0/000.p/1",
        "tile/8/data/x999/x999/999.p/3",
    ] {
        assert_eq!(snapshot.tile(&Tile::parse(path).unwrap()).unwrap(), None, "{path}");
    }
}

fn check_roots(snapshot: &Snapshot, tree: &Tree) {
    for size in 0..=snapshot.size().0 {
        assert_eq!(
            snapshot.root_at(TreeSize(size)).unwrap(),
            tree.head_at(size).root,
            "{size} of {}",
            snapshot.size()
        );
    }
    let all: Vec<HashIndex> = (0..stored_hash_count(snapshot.size())).map(HashIndex).collect();
    let stored = snapshot.hashes(&all).unwrap();
    let size = snapshot.size();
    let hashes: Vec<_> = tree_hash_indexes(size).iter().map(|index| stored[index.0 as usize]).collect();
    assert_eq!(tree_hash(size, &hashes).unwrap(), snapshot.head().tree.root);
}

async fn grow(log: &Log, until: u64, seed: u64) {
    let mut tree = Tree::default();
    let (mut random, mut kept) = (seed, Vec::new());
    while tree.size() < until {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Mostly small batches, sometimes over several tiles at once.
        let most = if random >> 60 == 0 { 600 } else { 24 };
        let count = (1 + (random >> 33) % most).min(until - tree.size());
        let ids = tree.size()..tree.size() + count;
        ids.clone().for_each(|i| drop(tree.push(leaf(i))));
        let receipt = log.append(candidates(ids)).await.unwrap();
        assert_eq!(receipt.snapshot.head().tree, tree.head());
        check_tiles(&receipt.snapshot, &tree);
        kept.push(receipt.snapshot);
    }
    check_roots(&log.snapshot(), &tree);
    check_every_width(&log.snapshot(), &tree);
    // What was handed out before still answers as of its own size.
    for old in kept.iter().step_by(5) {
        check_tiles(old, &tree);
        let next = Tile {
            height: 8,
            level: TileLevel::Hash(0),
            number: old.size().0 / 256,
            width: (old.size().0 % 256 + 1) as u32,
        };
        assert_eq!(old.tile(&next).unwrap(), None, "an older snapshot of {} has no later record", old.size());
        assert_eq!(old.record(tallystick::tlog::RecordId(old.size().0)).unwrap(), None);
    }
}

#[tokio::test]
async fn random_batches_give_the_tree_of_one_by_one_in_memory() {
    for seed in 1..=4 {
        let store = MemoryStore::open(&Disk::default(), Some(&identity_of(&signer()))).unwrap();
        let log = Log::open(LogParts::only(Box::new(store)), vec![signer()], clock(), Conditions::default())
            .unwrap();
        grow(&log, 1_000, seed).await;
    }
}

#[tokio::test]
async fn every_tile_of_every_width_is_what_the_tree_says() {
    let directory = tempfile::tempdir().unwrap();
    let open = || -> Box<dyn LogStore> {
        let path = directory.path().join("log.db");
        Box::new(SqliteStore::open(&path, Some(&identity_of(&signer())), 1024).unwrap())
    };
    let log =
        Log::open(LogParts::only(open()), vec![signer()], Clock::system(), Conditions::default()).unwrap();
    grow(&log, 1_000, 5).await;
    let before = log.snapshot().head().clone();
    log.close();
    let log =
        Log::open(LogParts::only(open()), vec![signer()], Clock::system(), Conditions::default()).unwrap();
    assert_eq!(log.snapshot().head(), &before);
    let mut tree = Tree::default();
    (0..1_000).for_each(|i| drop(tree.push(leaf(i))));
    check_every_width(&log.snapshot(), &tree);
    check_roots(&log.snapshot(), &tree);
}

#[tokio::test]
async fn every_size_to_600_one_by_one() {
    let store = MemoryStore::open(&Disk::default(), Some(&identity_of(&signer()))).unwrap();
    let log =
        Log::open(LogParts::only(Box::new(store)), vec![signer()], clock(), Conditions::default()).unwrap();
    let mut tree = Tree::default();
    for i in 0..600 {
        tree.push(leaf(i));
        let receipt = log.append(candidates(i..i + 1)).await.unwrap();
        assert_eq!(receipt.snapshot.head().tree, tree.head());
        let last = new_tiles(8, TreeSize(i), TreeSize(i + 1));
        last.into_iter().for_each(|tile| check_tile(&receipt.snapshot, &tree, tile));
    }
}

#[tokio::test]
async fn a_tile_of_level_two_begins_at_65536() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let open = || Box::new(SqliteStore::open(&path, Some(&identity_of(&signer())), 1024).unwrap());
    let log = Log::open(LogParts::only(open()), vec![signer()], clock(), Conditions::default()).unwrap();
    let mut tree = Tree::default();
    for end in [16_384, 32_768, 49_152, 65_535, 65_536, 65_537, 65_800] {
        let ids = tree.size()..end;
        ids.clone().for_each(|i| drop(tree.push(leaf(i))));
        let receipt = log.append(candidates(ids)).await.unwrap();
        assert_eq!(receipt.snapshot.head().tree, tree.head());
        for tile in new_tiles(8, TreeSize(0), TreeSize(end))
            .into_iter()
            .filter(|tile| tile.level != TileLevel::Hash(0))
        {
            check_tile(&receipt.snapshot, &tree, tile);
        }
    }
    log.close();
    let log = Log::open(LogParts::only(open()), vec![signer()], clock(), Conditions::default()).unwrap();
    for size in [1, 255, 256, 65_535, 65_536, 65_537, 65_700, 65_800] {
        assert_eq!(log.snapshot().root_at(TreeSize(size)).unwrap(), tree.head_at(size).root);
    }
}
