//! Real answers of sum.golang.org verify offline, and none of them with one bit changed.
//!
//! `tests/fixtures/sum.golang.org` has 30 look-ups, whose notes hold 20 tree heads, and the newest head `latest` with
//! the tiles that show that all the records and older heads are in its tree. Everything is read through a
//! [`TilePlan`] of `latest`, so nothing is believed but the key in `keys/`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use tallystick::note::{VerifierKey, open};
use tallystick::tlog::*;

/// The height of sum.golang.org's tiles.
const HEIGHT: u8 = 8;

struct Fixture {
    key: VerifierKey,
    latest: Vec<u8>,
    /// By path below `lookup/`: `rsc.io/quote@v1.5.2`.
    lookups: BTreeMap<String, Vec<u8>>,
    tiles: BTreeMap<Tile, Vec<u8>>,
}

/// What a look-up says that must be shown under the newest head.
struct Lookup {
    id: RecordId,
    leaf: Hash,
    head: TreeHead,
}

/// What the tiles say, once they are verified against the newest head.
struct VerifiedTree {
    head: TreeHead,
    hashes: BTreeMap<HashIndex, Hash>,
}

impl Fixture {
    fn load() -> Fixture {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let fixture = root.join("tests/fixtures/sum.golang.org");
        let key = fs::read_to_string(root.join("keys/sum.golang.org.vkey")).expect("the key");
        let tiles = files(&fixture, "tile").into_iter();
        let tiles =
            tiles.map(|(path, data)| (Tile::parse(&format!("tile/{path}")).expect("a tile path"), data));
        Fixture {
            key: key.trim_end().parse().expect("the key of sum.golang.org"),
            latest: fs::read(fixture.join("latest")).expect("latest"),
            lookups: files(&fixture, "lookup"),
            tiles: tiles.collect(),
        }
    }

    fn latest(&self) -> Result<TreeHead> {
        Ok(TreeHead::parse(&open(&self.latest, &[&self.key])?.text)?)
    }

    /// A look-up as a client takes it: whose record it is, and a head whose tree is to have it.
    fn lookup(&self, module: &str, answer: &[u8]) -> Result<Lookup> {
        let (id, text, note) = parse_record(answer)?;
        let head = TreeHead::parse(&open(note, &[&self.key])?.text)?;
        ensure!(id.0 < head.size.0, "cannot validate record {id} in tree of size {}", head.size);
        let (path, version) = module.split_once('@').context("module@version")?;
        // On the wire an upper-case letter is an exclamation mark and its lower-case letter.
        let mut escaped = false;
        let unescape = |c: char| match (std::mem::replace(&mut escaped, c == '!'), c) {
            (_, '!') => None,
            (true, c) => Some(c.to_ascii_uppercase()),
            (false, c) => Some(c),
        };
        let path: String = path.chars().filter_map(unescape).collect();
        let text = std::str::from_utf8(text)?;
        for prefix in [format!("{path} {version} h1:"), format!("{path} {version}/go.mod h1:")] {
            ensure!(text.lines().any(|line| line.starts_with(&prefix)), "no line {prefix}");
        }
        Ok(Lookup { id, leaf: Hash::of_record(text.as_bytes()), head })
    }

    fn read(&self, plan: &TilePlan) -> Result<Vec<&[u8]>> {
        let data = |tile| self.tiles.get(tile).map(Vec::as_slice).with_context(|| format!("no {tile}"));
        plan.tiles().iter().map(data).collect()
    }

    /// Verifies, in one plan, all tiles that these hashes need.
    fn verify_tiles(&self, indexes: &BTreeSet<HashIndex>) -> Result<VerifiedTree> {
        let (head, indexes) = (self.latest()?, indexes.iter().copied().collect::<Vec<_>>());
        let plan = TilePlan::new(&head, HEIGHT, &indexes)?;
        let hashes = plan.finish(&self.read(&plan)?)?;
        Ok(VerifiedTree { head, hashes: indexes.into_iter().zip(hashes).collect() })
    }

    /// Everything: the notes, the tiles, all records, all heads.
    fn verify(&self) -> Result<VerifiedTree> {
        let lookups: Vec<Lookup> =
            self.lookups.iter().map(|(module, answer)| self.lookup(module, answer)).collect::<Result<_>>()?;
        let head = self.latest()?;
        let mut indexes = BTreeSet::new();
        for lookup in &lookups {
            indexes.extend(lookup.indexes(head.size)?);
        }
        let tree = self.verify_tiles(&indexes)?;
        for lookup in &lookups {
            lookup.verify(&tree)?;
        }
        Ok(tree)
    }
}

impl Lookup {
    /// The hashes that show the record and the head in the newest tree.
    fn indexes(&self, size: TreeSize) -> Result<Vec<HashIndex>> {
        let mut indexes = vec![stored_hash_index(0, self.id.0)];
        indexes.extend(inclusion_proof_indexes(size, self.id)?);
        indexes.extend(consistency_proof_indexes(size, self.head.size)?);
        indexes.extend(tree_hash_indexes(self.head.size));
        Ok(indexes)
    }

    fn verify(&self, tree: &VerifiedTree) -> Result<()> {
        let TreeHead { size, root } = tree.head;
        let leaf = tree.read(&[stored_hash_index(0, self.id.0)])?;
        ensure!(leaf == [self.leaf], "record {} is another in the tree", self.id);
        let hashes = tree.read(&inclusion_proof_indexes(size, self.id)?)?;
        verify_inclusion(&prove_inclusion(size, self.id, &hashes)?, size, &root, self.id, &self.leaf)?;

        let old = self.head;
        let hashes = tree.read(&tree_hash_indexes(old.size))?;
        ensure!(tree_hash(old.size, &hashes)? == old.root, "the tree had another root at size {}", old.size);
        let hashes = tree.read(&consistency_proof_indexes(size, old.size)?)?;
        verify_consistency(&prove_consistency(size, old.size, &hashes)?, size, &root, old.size, &old.root)?;
        Ok(())
    }
}

impl VerifiedTree {
    fn read(&self, indexes: &[HashIndex]) -> Result<Vec<Hash>> {
        indexes
            .iter()
            .map(|i| self.hashes.get(i).copied().with_context(|| format!("hash {i} not read")))
            .collect()
    }
}

/// The files below a directory, by path.
pub(crate) fn files(root: &Path, below: &str) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![String::new()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(root.join(below).join(&directory)).expect("a directory") {
            let entry = entry.expect("an entry");
            let name = directory.clone() + entry.file_name().to_str().expect("UTF-8");
            if entry.path().is_dir() {
                open.push(name + "/");
            } else {
                found.insert(name, fs::read(entry.path()).expect("a file"));
            }
        }
    }
    found
}

#[test]
fn thirty_records_and_twenty_heads_verify() {
    let fixture = Fixture::load();
    let tree = fixture.verify().expect("sum.golang.org is honest");
    assert_eq!(tree.head.size, TreeSize(66_398_721));
    let lookups = fixture.lookups.iter().map(|(module, answer)| fixture.lookup(module, answer).unwrap());
    let (ids, mut heads): (BTreeSet<RecordId>, BTreeSet<u64>) =
        lookups.map(|lookup| (lookup.id, lookup.head.size.0)).unzip();
    heads.insert(tree.head.size.0);
    assert_eq!((ids.len(), heads.len()), (30, 20));
}

#[test]
fn no_tile_of_the_fixture_is_idle() {
    // Else a changed bit in it could not matter.
    let fixture = Fixture::load();
    let tree = fixture.verify().unwrap();
    let indexes: Vec<HashIndex> = tree.hashes.keys().copied().collect();
    let plan = TilePlan::new(&tree.head, HEIGHT, &indexes).unwrap();
    let planned: BTreeSet<&Tile> = plan.tiles().iter().collect();
    assert_eq!(planned, fixture.tiles.keys().collect());
}

#[test]
fn every_bit_of_every_note_and_record_matters() {
    let fixture = Fixture::load();
    let tree = fixture.verify().unwrap();
    for (module, answer) in &fixture.lookups {
        let check = |answer: &[u8]| fixture.lookup(module, answer).and_then(|lookup| lookup.verify(&tree));
        check(answer).expect("as it was served");
        let mut changed = answer.clone();
        for bit in 0..8 * answer.len() {
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(check(&changed).is_err(), "{module}, bit {bit}: {}", changed.escape_ascii());
            changed[bit / 8] ^= 1 << (bit % 8);
        }
    }
    let mut changed = Fixture::load();
    for bit in 0..8 * fixture.latest.len() {
        changed.latest[bit / 8] ^= 1 << (bit % 8);
        assert!(changed.latest().is_err(), "latest, bit {bit}: {}", changed.latest.escape_ascii());
        changed.latest[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn a_bit_of_any_file_fails_the_whole_and_the_tile_is_named() {
    let mut fixture = Fixture::load();
    let tree = fixture.verify().unwrap();
    let indexes: BTreeSet<HashIndex> = tree.hashes.keys().copied().collect();
    for tile in fixture.tiles.keys().copied().collect::<Vec<Tile>>() {
        let length = fixture.tiles[&tile].len();
        for byte in [0, length / 2 + 7, length - 1] {
            let flip = |fixture: &mut Fixture| fixture.tiles.get_mut(&tile).unwrap()[byte] ^= 1 << (byte % 8);
            flip(&mut fixture);
            let error = fixture.verify_tiles(&indexes).err().expect("a changed tile");
            let named = match error.downcast_ref::<TileError>() {
                Some(TileError::Mismatch { tile: named, .. }) => *named == tile,
                Some(TileError::Edge { tiles, .. }) => tile.is_partial() && tiles.contains(&tile),
                _ => false,
            };
            assert!(named, "byte {byte} of {tile}: {error}");
            flip(&mut fixture);
        }
        let whole = fixture.tiles.insert(tile, vec![]).unwrap();
        assert!(fixture.verify_tiles(&indexes).is_err(), "{tile} missing");
        fixture.tiles.insert(tile, whole);
    }
    for module in fixture.lookups.keys().cloned().collect::<Vec<String>>() {
        let flip = |fixture: &mut Fixture| fixture.lookups.get_mut(&module).unwrap()[40] ^= 1;
        flip(&mut fixture);
        assert!(fixture.verify().is_err(), "{module}");
        flip(&mut fixture);
    }
    fixture.verify().expect("as it was");
}

#[test]
fn every_bit_of_every_edge_tile_matters() {
    let fixture = Fixture::load();
    let plan = TilePlan::new(&fixture.latest().unwrap(), HEIGHT, &[]).unwrap();
    let data: Vec<Vec<u8>> = fixture.read(&plan).unwrap().into_iter().map(<[u8]>::to_vec).collect();
    assert!(plan.finish(&data).is_ok());
    let bits: usize = data.iter().map(|data| 8 * data.len()).sum();
    assert_eq!(bits, 256 * (1 + 42 + 245 + 3), "the partial tiles of a tree of 66398721");
    // Two threads, every other bit each.
    let check = |parity: usize| {
        let mut data = data.clone();
        for position in 0..data.len() {
            for bit in (parity..8 * data[position].len()).step_by(2) {
                data[position][bit / 8] ^= 1 << (bit % 8);
                let error = plan.finish(&data).expect_err("a changed tile");
                assert!(matches!(error, TileError::Edge { .. }), "bit {bit} of {position}: {error}");
                data[position][bit / 8] ^= 1 << (bit % 8);
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| check(0));
        scope.spawn(|| check(1));
    });
}

#[test]
fn every_bit_of_every_full_tile_matters() {
    // Six million bits, and 255 hashes for each would take minutes. But a changed hash changes only the eight nodes
    // above it, so these alone are hashed again; without a change they must give what `tile_root` gives.
    let fixture = Fixture::load();
    let size = fixture.verify().unwrap().head.size;
    let full: Vec<(&Tile, &Vec<u8>)> = fixture.tiles.iter().filter(|(tile, _)| !tile.is_partial()).collect();
    assert_eq!(full.len(), fixture.tiles.len() - 4);
    let check = |(tile, data): &(&Tile, &Vec<u8>)| {
        let parent = tile.parent(1, size).unwrap();
        let TileLevel::Hash(level) = parent.level else { panic!("{parent}") };
        let index = stored_hash_index(level * HEIGHT, tile.number);
        let want = parent.hash_at(&fixture.tiles[&parent], index).unwrap();
        every_bit_changes_the_root(tile, data, &want);
    };
    std::thread::scope(|scope| {
        for half in full.chunks(full.len().div_ceil(2)) {
            scope.spawn(move || half.iter().for_each(check));
        }
    });
}

fn every_bit_changes_the_root(tile: &Tile, data: &[u8], root: &Hash) {
    let hashes: Vec<Hash> =
        data.chunks(HASH_SIZE).map(|hash| Hash::from_slice(hash).expect("32 bytes")).collect();
    assert_eq!(tile_root(&hashes), *root, "{tile}");
    let mut levels = vec![hashes];
    while levels[levels.len() - 1].len() > 1 {
        let below = &levels[levels.len() - 1];
        levels.push(below.chunks(2).map(|pair| Hash::of_node(&pair[0], &pair[1])).collect());
    }
    let root_with = |position: usize, hash: Hash| {
        let up = |(mut hash, position): (Hash, usize), level: &Vec<Hash>| {
            let beside = &level[position ^ 1];
            hash =
                if position % 2 == 0 { Hash::of_node(&hash, beside) } else { Hash::of_node(beside, &hash) };
            (hash, position / 2)
        };
        levels[..levels.len() - 1].iter().fold((hash, position), up).0
    };
    for (position, hash) in levels[0].iter().enumerate() {
        assert_eq!(root_with(position, *hash), *root, "{tile}");
        for bit in 0..8 * HASH_SIZE {
            let mut changed = *hash.as_bytes();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(
                root_with(position, Hash::from_bytes(changed)),
                *root,
                "{tile}: bit {bit} of {position}"
            );
        }
    }
}
