//! The full mirror of one remote log, in a database and two files beside it: every record below a
//! size, and all that is made of them.
//!
//! `migrations/sqlite/replica_000*.sql` is the layout. Records lie in [packed](super::packed)
//! segments of sixteen, which are [files](segments) that the database vouches for, and are found
//! through the same [index](super::index) as those of the own log. Hash tiles from level 1 up are
//! rows; the leaves are computed again when somebody asks. What is not in full tiles yet is the
//! [`Edge`].
//!
//! A replica knows positions, not trees: that what is written belongs to the log was established by
//! [`crate::mirror`] before. One commit takes a [`Window`] as a whole or not at all, so that
//! whenever the process is killed the records below [`ReplicaReader::size`] are there, verified,
//! and nothing else is. A commit without a head may be taken back by a power cut, since what it
//! holds can be fetched again; one with a head may not, since a head that was served must stay
//! servable.

mod check;
mod copy;
mod edge;
mod look;
mod moved;
mod places;
mod reader;
mod segments;
mod writer;

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use jiff::Timestamp;

use super::index::View;
use super::packed::{Packer, RecordParts, names_of};
use super::readers::ReaderPool;
use super::seen_heads::SeenHead;
use super::segment::SEGMENT_WIDTH;
use super::shape::hash_name;
use crate::gosum::ModuleLines;
use crate::store::{FullTile, StoreError};
use crate::tlog::{RecordId, TILE_WIDTH};
pub use edge::Edge;
pub use look::{Extent, file_bytes, look};
use segments::Segments;
use writer::ReplicaWriter;
pub(crate) use writer::drop_index;

const MIGRATIONS: &[&str] = &[
    include_str!("../../../../migrations/sqlite/replica_0001.sql"),
    include_str!("../../../../migrations/sqlite/replica_0002.sql"),
    include_str!("../../../../migrations/sqlite/replica_0003.sql"),
    include_str!("../../../../migrations/sqlite/replica_0004.sql"),
];
/// From this version of the schema on, the newest head and the end of the records are kept twice.
const KEPT_TWICE: i64 = 4;
/// "repl" in ASCII: a mirror is not mistaken for a log of ours.
const APPLICATION_ID: i64 = 0x7265_706c;
/// Tiles from which a dictionary is made: enough to know the common hosts and the shapes of
/// versions.
pub const TRAINING_TILES: u64 = 64;
/// Segments of a full data tile.
const SEGMENTS_PER_TILE: usize = (TILE_WIDTH / SEGMENT_WIDTH) as usize;
/// A segment has 1,024 bytes of hashes, and names that take a few hundred.
const USUAL_SEGMENT_BYTES: usize = 1_600;
/// Larger dictionaries gain little: what repeats in a log are hosts, words and dates.
const DICTIONARY_BYTES: usize = 32 << 10;

/// The full mirror of one log: its writer, of which there is one, and the way to its readers.
/// Clones share both.
#[derive(Clone)]
pub struct Replica {
    shared: Arc<ReplicaShared>,
    /// Owned by whoever commits, trains or tidies, for that long.
    writer: Arc<Mutex<ReplicaWriter>>,
    /// Replaced once, under the writer's lock, when the dictionary is made.
    codec: Arc<ArcSwap<Codec>>,
}

/// The readers' half. Any number of threads; each call sees one state of the mirror.
#[derive(Clone)]
pub struct ReplicaReader(Arc<ReplicaShared>);

/// What the writer and the readers of one mirror share.
struct ReplicaShared {
    /// The secret of the database under which the index hashes names.
    index_key: [u8; 16],
    /// The writer alone appends, behind what is committed. Readers read below it.
    segments: Segments,
    /// The index as it is shown. Only the writer's index replaces it, after a commit.
    view: Arc<ArcSwap<View>>,
    readers: Arc<ReaderPool>,
    /// What is committed. Only the writer replaces it, after the index.
    state: ArcSwap<ReplicaState>,
    /// Only grows. Whoever verifies again compares and swaps.
    condemned: ArcSwap<check::Condemned>,
}

/// What is committed.
struct ReplicaState {
    edge: Edge,
    head: Option<Arc<SeenHead>>,
}

/// A record of the mirrored log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordText {
    /// The two go.sum lines of a module version, as every record of a checksum database should be.
    Lines(ModuleLines),
    /// Something else that the log has taken; nobody can look it up.
    Other(String),
}

/// A full data tile as it will be written.
#[derive(Debug)]
pub(crate) struct PackedTile {
    number: u64,
    /// Its sixteen segments, one after the other, ...
    bodies: Vec<u8>,
    /// ... and where each of them ends.
    ends: Vec<usize>,
    /// What the index knows its records by.
    hashes: Vec<u64>,
}

/// What one commit adds: all of it, or nothing.
#[derive(Debug)]
pub(crate) struct Window {
    /// Full data tiles, the first the one that the edge before had begun, each the next after the
    /// one before it.
    pub(crate) tiles: Vec<PackedTile>,
    /// The hash tiles of level 1 and up that are full now.
    pub(crate) hash_tiles: Vec<FullTile>,
    /// The edge after these tiles.
    pub(crate) edge: Edge,
    /// A head of exactly this size.
    pub(crate) head: Option<SeenHead>,
}

/// How records are packed in this database. For any number of threads: packing is most of the work
/// of a mirror.
pub(crate) struct Codec {
    index_key: [u8; 16],
    dictionary: Option<Vec<u8>>,
    /// Packers that nobody uses now. Locked to take one and to give it back.
    idle: Mutex<Vec<Packer>>,
}

impl Replica {
    /// Opens the database at `path`, and creates it when there is none. One of another log, or of
    /// this log with another key, is refused. `cache_kib` is the page cache of each of the reading
    /// connections, of which there are as many as cores.
    pub fn open(
        path: &Path,
        name: &str,
        vkey: &str,
        cache_kib: u32,
        at: Timestamp,
    ) -> Result<Replica, StoreError> {
        let writer::OpenedReplica { writer, shared, dictionary } =
            writer::open(path, name, vkey, cache_kib, at)?;
        let codec = Arc::new(ArcSwap::from_pointee(Codec::new(shared.index_key, dictionary)));
        Ok(Replica { shared, writer: Arc::new(Mutex::new(writer)), codec })
    }

    /// A reader of the same mirror.
    pub fn reader(&self) -> ReplicaReader {
        ReplicaReader(self.shared.clone())
    }

    /// The edge of what is committed. Waits for a commit that is under way, and reads the file
    /// where one has failed: it may stand.
    pub fn edge(&self) -> Edge {
        // Where the file cannot be read the next commit says so; until then what was known is as
        // good as anything.
        let _ = self.writer().settle_doubt();
        self.shared.state.load().edge.clone()
    }

    /// How records are packed now.
    pub(crate) fn codec(&self) -> Arc<Codec> {
        self.codec.load_full()
    }

    /// Whether there is a dictionary. Without one, names take twice the space.
    pub fn is_trained(&self) -> bool {
        self.codec.load().dictionary.is_some()
    }

    /// Makes the dictionary of the names from records of this log, of which there should be
    /// [`TRAINING_TILES`] tiles. Once made it stays; a log whose names have nothing in common does
    /// without.
    pub(crate) fn train(&self, texts: &[&str]) -> Result<(), StoreError> {
        let (mut names, mut sizes, mut piece, mut tails) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for records in texts.chunks(SEGMENT_WIDTH as usize) {
            let parts: Vec<RecordParts<'_>> = records.iter().map(|text| RecordParts::of(text)).collect();
            names_of(&parts, &mut piece, &mut tails);
            names.extend(&piece);
            sizes.push(piece.len());
        }
        let Ok(dictionary) = zstd::dict::from_continuous(&names, &sizes, DICTIONARY_BYTES) else {
            return Ok(());
        };
        let mut writer = self.writer();
        if !self.is_trained() {
            let dictionary = writer.insert_dictionary(dictionary)?;
            self.codec.store(Arc::new(Codec::new(self.shared.index_key, Some(dictionary))));
        }
        Ok(())
    }

    /// Adds a window. Returns when all of it is committed; with a head, when it is durable. A
    /// window that does not begin where the mirror ends is a [`StoreError::Conflict`]: somebody
    /// else has written, or a commit that was reported as failed stands.
    ///
    /// # Panics
    ///
    /// When the edge of the window is not that of its tiles.
    pub(crate) fn commit(&self, window: Window) -> Result<(), StoreError> {
        self.writer().commit(window)
    }

    /// Brings the database into its tidiest form: index merged, write-ahead log emptied. May take a
    /// while.
    pub fn settle(&self) -> Result<(), StoreError> {
        while !self.tidy()? {}
        Ok(())
    }

    /// A bounded step towards that. True when it was the last.
    pub(crate) fn tidy(&self) -> Result<bool, StoreError> {
        self.writer().tidy()
    }

    fn writer(&self) -> MutexGuard<'_, ReplicaWriter> {
        // A panic in the middle of a commit leaves a transaction that the next one rolls back.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Codec {
    fn new(index_key: [u8; 16], dictionary: Option<Vec<u8>>) -> Codec {
        Codec { index_key, dictionary, idle: Mutex::default() }
    }

    /// Packs the 256 records of a full data tile.
    pub(crate) fn pack(&self, number: u64, texts: &[&str]) -> Result<PackedTile, StoreError> {
        assert_eq!(texts.len() as u64, TILE_WIDTH, "a full data tile has 256 records");
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let mut packer = match idle().pop() {
            Some(packer) => packer,
            None => Packer::new(self.dictionary.as_deref()).map_err(codec_failed)?,
        };
        let mut tile = PackedTile {
            number,
            bodies: Vec::with_capacity(SEGMENTS_PER_TILE * USUAL_SEGMENT_BYTES),
            ends: Vec::with_capacity(SEGMENTS_PER_TILE),
            hashes: Vec::with_capacity(texts.len()),
        };
        let mut records = Vec::with_capacity(SEGMENT_WIDTH as usize);
        for (segment, texts) in
            (number * SEGMENTS_PER_TILE as u64..).zip(texts.chunks(SEGMENT_WIDTH as usize))
        {
            records.clear();
            records.extend(texts.iter().map(|text| RecordParts::of(text)));
            packer.segment(segment, &records, &mut tile.bodies).map_err(codec_failed)?;
            tile.ends.push(tile.bodies.len());
            let hash = |parts: &RecordParts<'_>| hash_name(&self.index_key, parts.path, parts.version);
            tile.hashes.extend(records.iter().map(hash));
        }
        idle().push(packer);
        Ok(tile)
    }
}

impl RecordText {
    fn of(parts: &RecordParts<'_>) -> RecordText {
        parts.lines().map(RecordText::Lines).unwrap_or_else(|| {
            let mut text = String::new();
            parts.push_text(&mut text);
            RecordText::Other(text)
        })
    }

    /// Appends the text of the record.
    pub fn push_text(&self, text: &mut String) {
        match self {
            RecordText::Lines(lines) => lines.push_text(text),
            RecordText::Other(other) => text.push_str(other),
        }
    }
}

impl ReplicaState {
    fn size(&self) -> u64 {
        self.edge.size.0
    }

    /// A record at the edge, if it is there and not in a full tile.
    fn at_edge(&self, id: RecordId) -> Option<&str> {
        let at = id.0.checked_sub(self.edge.sealed())?;
        self.edge.texts.get(at as usize).map(String::as_str)
    }
}

fn codec_failed(source: io::Error) -> StoreError {
    StoreError::File { path: "zstd".to_owned(), source }
}
