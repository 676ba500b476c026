//! What golang.org/x/mod says, from `vectors/tlog.json`; `tests/oracle/tlogvec` says how each row is made.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::*;

#[derive(Deserialize)]
struct Vectors {
    record_hash: Vec<(String, String)>,
    leaves: Vec<String>,
    stored: Vec<String>,
    roots: Vec<String>,
    inclusion: Vec<Proofs>,
    consistency: Vec<Proofs>,
    index: Vec<(u8, u64, u64)>,
    count: Vec<(u64, u64)>,
    tile_path: Vec<TilePath>,
    tile_for: Vec<TileFor>,
    new_tiles: Vec<NewTiles>,
    tile_data: Vec<TileData>,
    plan: Vec<Plan>,
    record_text: Vec<TextCase>,
    record: Vec<RecordCase>,
    head: Vec<HeadCase>,
}

#[derive(Deserialize)]
struct Proofs {
    size: u64,
    digest: String,
    #[serde(default)]
    proofs: Vec<Option<Vec<String>>>,
}

#[derive(Deserialize)]
struct TilePath {
    path: String,
    ok: bool,
    tile: Option<(u8, i64, u64, u32)>,
}

#[derive(Deserialize)]
struct TileFor {
    height: u8,
    index: u64,
    path: String,
}

#[derive(Deserialize)]
struct NewTiles {
    height: u8,
    old: i64,
    new: u64,
    #[serde(default)]
    digest: String,
    #[serde(default)]
    paths: Vec<String>,
}

#[derive(Deserialize)]
struct TileData {
    height: u8,
    size: u64,
    digest: String,
}

#[derive(Deserialize)]
struct Plan {
    height: u8,
    size: u64,
    digest: String,
    last: Vec<String>,
}

#[derive(Deserialize)]
struct TextCase {
    case: String,
    text: String,
    ok: bool,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
struct RecordCase {
    case: String,
    message: String,
    ok: bool,
    id: i64,
    #[serde(default)]
    text: String,
    #[serde(default)]
    rest: String,
}

#[derive(Deserialize)]
struct HeadCase {
    case: String,
    text: String,
    ok: bool,
    size: u64,
    #[serde(default)]
    root: String,
}

/// Where we refuse, on purpose, what x/mod accepts: (what, case). Nothing else may differ.
const STRICTER: &[(&str, &str)] = &[
    ("tile path", "tile/8/64/000"),
    ("tile path", "tile/8/100/000"),
    ("tile path", "tile/8/9223372036854775807/000"),
    ("record text", "newline only"),
    ("record text", "newline first"),
    ("record", "number with a plus"),
    ("record", "number with a minus"),
    ("record", "minus zero"),
    ("record", "leading zero"),
    ("record", "no text, two newlines"),
    ("record", "blank line first"),
    ("record", "two blank lines first"),
    ("head", "root with stray bits"),
    ("head", "root with a carriage return"),
    // An opened note's text is UTF-8 always, so our parser takes a str.
    ("head", "not UTF-8 after it"),
];

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../../vectors/tlog.json")).expect("tests/vectors/tlog.json")
}

/// Counts, for one kind of case, that we refuse what x/mod refuses and the rows of [`STRICTER`], and nothing else.
struct Agreement {
    kind: &'static str,
    stricter: usize,
    accepted: usize,
}

impl Agreement {
    fn new(kind: &'static str) -> Agreement {
        Agreement { kind, stricter: 0, accepted: 0 }
    }

    fn case(&mut self, case: &str, theirs: bool, ours: bool) {
        let listed = STRICTER.contains(&(self.kind, case));
        assert_eq!(ours, theirs && !listed, "{} {case:?}: x/mod {theirs}, we {ours}", self.kind);
        assert!(theirs || !listed, "{} {case:?} is listed as stricter, but x/mod refuses it too", self.kind);
        self.stricter += usize::from(listed);
        self.accepted += usize::from(ours);
    }

    fn done(self) {
        let listed = STRICTER.iter().filter(|(kind, _)| *kind == self.kind).count();
        assert_eq!(self.stricter, listed, "{}: a row of STRICTER has no case", self.kind);
        assert!(self.accepted > 0, "{}: something is accepted", self.kind);
    }
}

fn bytes(base64: &str) -> Vec<u8> {
    STANDARD.decode(base64).expect("base64 in the vectors")
}

fn texts(hashes: &[Hash]) -> Vec<String> {
    hashes.iter().map(Hash::to_string).collect()
}

fn paths(tiles: &[Tile]) -> Vec<String> {
    tiles.iter().map(Tile::path).collect()
}

#[test]
fn hashes() {
    let (v, log) = (vectors(), MemoryLog::new(100));
    assert!(!v.record_hash.is_empty());
    for (text, hash) in &v.record_hash {
        assert_eq!(Hash::of_record(text.as_bytes()).to_string(), *hash, "{text:?}");
    }
    assert_eq!(texts(&log.leaves), v.leaves);
    assert_eq!(texts(&log.stored), v.stored);
    assert_eq!(v.roots.len(), 101);
    for (size, root) in (0..).zip(&v.roots) {
        assert_eq!(log.head(size).root.to_string(), *root, "size {size}");
    }
}

fn check_proofs(rows: &[Proofs], proof: impl Fn(u64, u64) -> Vec<Hash>) {
    assert_eq!(rows.len(), 100);
    let mut listed = 0;
    for row in rows {
        let proofs: Vec<Vec<Hash>> = (0..row.size).map(|position| proof(row.size, position)).collect();
        let mut digest = Sha256::new();
        for proof in &proofs {
            digest.update([proof.len() as u8]);
            proof.iter().for_each(|hash| digest.update(hash.as_bytes()));
        }
        assert_eq!(STANDARD.encode(digest.finalize()), row.digest, "size {}", row.size);
        for (position, want) in row.proofs.iter().enumerate() {
            assert_eq!(
                texts(&proofs[position]),
                want.clone().unwrap_or_default(),
                "{position} of {}",
                row.size
            );
            listed += 1;
        }
    }
    assert_eq!(listed, (1..=12).sum::<usize>(), "full lists for the sizes to 12");
}

#[test]
fn proofs() {
    let (v, log) = (vectors(), MemoryLog::new(100));
    check_proofs(&v.inclusion, |size, id| log.inclusion(size, id).0);
    check_proofs(&v.consistency, |size, old| log.consistency(size, old + 1).0);
}

#[test]
fn positions() {
    let v = vectors();
    assert!(v.index.len() > 200 && v.count.len() > 70);
    for (level, offset, index) in v.index {
        assert_eq!(stored_hash_index(level, offset), HashIndex(index), "({level}, {offset})");
        assert_eq!(split_stored_hash_index(HashIndex(index)), (level, offset), "{index}");
    }
    for (size, count) in v.count {
        assert_eq!(stored_hash_count(TreeSize(size)), count, "size {size}");
    }
}

#[test]
fn tile_paths() {
    let mut agreement = Agreement::new("tile path");
    for row in vectors().tile_path {
        let parsed = Tile::parse(&row.path);
        agreement.case(&row.path, row.ok, parsed.is_ok());
        if let (Ok(parsed), Some((height, level, number, width))) = (parsed, row.tile) {
            let level = u8::try_from(level).map_or(TileLevel::Data, TileLevel::Hash);
            assert_eq!(parsed, Tile { height, level, number, width });
            assert_eq!(parsed.path(), row.path);
        }
    }
    agreement.done();
}

#[test]
fn tiles_of_hash_indexes() {
    let rows = vectors().tile_for;
    assert!(rows.len() > 500);
    for row in rows {
        let tile = Tile::for_hash_index(row.height, HashIndex(row.index));
        assert_eq!(tile.path(), row.path, "{} at height {}", row.index, row.height);
    }
}

#[test]
fn new_tiles_of_growing_trees() {
    let (rows, mut listed) = (vectors().new_tiles, 0);
    for row in &rows {
        let new = TreeSize(row.new);
        if let Ok(old) = u64::try_from(row.old) {
            assert_eq!(paths(&new_tiles(row.height, TreeSize(old), new)), row.paths, "{old} to {new}");
            listed += 1;
            continue;
        }
        let mut digest = Sha256::new();
        for old in 0..=row.new {
            for path in paths(&new_tiles(row.height, TreeSize(old), new)) {
                digest.update(path + "\n");
            }
            digest.update("\n");
        }
        assert_eq!(STANDARD.encode(digest.finalize()), row.digest, "height {} to {new}", row.height);
    }
    assert_eq!((rows.len(), listed), (4 * 101 + 12, 12));
}

#[test]
fn data_of_all_tiles() {
    let (rows, log) = (vectors().tile_data, MemoryLog::new(100));
    assert_eq!(rows.len(), 400);
    for row in rows {
        let mut digest = Sha256::new();
        for tile in new_tiles(row.height, TreeSize(0), TreeSize(row.size)) {
            digest.update(tile.path() + "\n");
            digest.update(log.tile_data(&tile));
        }
        assert_eq!(STANDARD.encode(digest.finalize()), row.digest, "height {} size {}", row.height, row.size);
    }
}

#[test]
fn plans_read_the_tiles_that_x_mod_reads() {
    let (rows, log) = (vectors().plan, MemoryLog::new(100));
    assert_eq!(rows.len(), 400);
    for row in rows {
        let (head, mut digest, mut last) = (log.head(row.size), Sha256::new(), Vec::new());
        for index in (0..stored_hash_count(head.size)).map(HashIndex) {
            let plan = TilePlan::new(&head, row.height, &[index]).unwrap();
            last = paths(plan.tiles());
            last.sort();
            digest.update(last.join(" ") + "\n");
            let data: Vec<Vec<u8>> = plan.tiles().iter().map(|tile| log.tile_data(tile)).collect();
            assert_eq!(plan.finish(&data), Ok(log.read(&[index])), "{index} of {head}");
        }
        assert_eq!(last, row.last, "height {} size {}", row.height, row.size);
        assert_eq!(STANDARD.encode(digest.finalize()), row.digest, "height {} size {}", row.height, row.size);
    }
}

#[test]
fn record_texts() {
    let mut agreement = Agreement::new("record text");
    for row in vectors().record_text {
        let text = bytes(&row.text);
        agreement.case(&row.case, row.ok, is_valid_record_text(&text));
        if let Ok(message) = format_record(RecordId(7), &text) {
            assert_eq!(message, bytes(&row.message), "{}", row.case);
        }
    }
    agreement.done();
}

#[test]
fn records() {
    let mut agreement = Agreement::new("record");
    for row in vectors().record {
        let message = bytes(&row.message);
        let parsed = parse_record(&message);
        agreement.case(&row.case, row.ok, parsed.is_ok());
        if let Ok((id, text, rest)) = parsed {
            assert_eq!(
                (id.0 as i64, text, rest),
                (row.id, &*bytes(&row.text), &*bytes(&row.rest)),
                "{}",
                row.case
            );
        }
    }
    agreement.done();
}

#[test]
fn tree_heads() {
    let mut agreement = Agreement::new("head");
    for row in vectors().head {
        let parsed = String::from_utf8(bytes(&row.text)).ok().and_then(|text| TreeHead::parse(&text).ok());
        agreement.case(&row.case, row.ok, parsed.is_some());
        if let Some(head) = parsed {
            assert_eq!((head.size, head.root.to_string()), (TreeSize(row.size), row.root), "{}", row.case);
        }
    }
    agreement.done();
}
