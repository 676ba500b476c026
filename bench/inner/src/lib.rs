//! What the benchmarks of inner functions work on: records, a zip, and a tree of any size that nobody has to store.

#![forbid(unsafe_code)]

use std::io::{Cursor, Write};

use tallystick::dirhash::H1;
use tallystick::gosum::ModuleLines;
use tallystick::module::ModuleVersion;
use tallystick::tlog::{
    Hash, HashIndex, Tile, TileLevel, TreeHead, TreeSize, split_stored_hash_index, tree_hash,
    tree_hash_indexes,
};
use zip::CompressionMethod;
use zip::write::{SimpleFileOptions, ZipWriter};

/// A module version in its escaped spelling, with capitals and of the usual length.
pub const ESCAPED_MODULE: &str = "github.com/!burnt!sushi/toml@v1.3.2-0.20230608151245-20d25e280405";

/// The same in its plain spelling.
pub const PLAIN_MODULE: &str = "github.com/BurntSushi/toml@v1.3.2-0.20230608151245-20d25e280405";

/// How many files [`zip_of_source`] has; with their 2 KiB each, about the median of public modules.
const ZIP_FILES: usize = 64;

/// The module version of [`PLAIN_MODULE`].
pub fn module() -> ModuleVersion {
    PLAIN_MODULE.parse().expect("a module version")
}

/// The text of a record: two go.sum lines.
pub fn record_text(number: u64) -> String {
    let mut bytes = *Hash::of_record(&number.to_be_bytes()).as_bytes();
    let zip = H1::from_bytes(bytes);
    bytes.reverse();
    ModuleLines { module: module(), zip, go_mod: H1::from_bytes(bytes) }.to_text()
}

/// A full data tile: 256 records, a blank line after each.
pub fn data_tile() -> Vec<u8> {
    (0..256).flat_map(|number| format!("{}\n", record_text(number)).into_bytes()).collect()
}

/// The tree of a log whose records are all the same. All hashes of a level are then equal, so that ten million
/// records take one hash a level; the work of proofs and tiles is that of any other log.
#[derive(Debug)]
pub struct EvenTree {
    /// Its size and root.
    pub head: TreeHead,
    levels: Vec<Hash>,
}

impl EvenTree {
    /// The tree of so many records.
    pub fn new(size: u64) -> EvenTree {
        let leaf = Hash::of_record(record_text(0).as_bytes());
        let levels = std::iter::successors(Some(leaf), |hash| Some(Hash::of_node(hash, hash)));
        let mut tree = EvenTree {
            head: TreeHead { size: TreeSize(size), root: Hash::EMPTY_TREE },
            levels: levels.take(64).collect(),
        };
        let hashes = tree.read(&tree_hash_indexes(tree.head.size));
        tree.head.root = tree_hash(tree.head.size, &hashes).expect("the hashes are those of the plan");
        tree
    }

    /// The hash of every record.
    pub fn leaf(&self) -> Hash {
        self.levels[0]
    }

    /// Stored hashes.
    pub fn read(&self, indexes: &[HashIndex]) -> Vec<Hash> {
        indexes.iter().map(|index| self.levels[usize::from(split_stored_hash_index(*index).0)]).collect()
    }

    /// The bytes of a hash tile.
    pub fn tile_data(&self, tile: &Tile) -> Vec<u8> {
        let TileLevel::Hash(level) = tile.level else { panic!("{tile} holds records") };
        self.levels[usize::from(level * tile.height)].as_bytes().repeat(tile.width as usize)
    }
}

/// A zip of [`module`], deflated: a go.mod and files that look like source code.
pub fn zip_of_source() -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    for number in 0..ZIP_FILES as u64 {
        let (name, text) = match number {
            0 => ("go.mod".to_owned(), "module github.com/BurntSushi/toml\n\ngo 1.26\n".to_owned()),
            _ => (format!("internal/p{number}/file.go"), source(number)),
        };
        zip.start_file(format!("{}/{name}", module()), options).expect("memory takes every file");
        zip.write_all(text.as_bytes()).expect("memory takes every byte");
    }
    zip.finish().expect("memory takes every byte").into_inner()
}

fn source(number: u64) -> String {
    let function = |line: u64| {
        let hash = Hash::of_record(&(number << 32 | line).to_be_bytes()).to_string();
        format!("// f{line} is {hash}.\nfunc f{line}(x int) int {{\n\treturn x + {line}\n}}\n\n")
    };
    format!("package p{number}\n\n{}", (0..20).map(function).collect::<String>())
}
