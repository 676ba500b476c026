//! How records lie on disk: sixteen in a row when sealed, one in a row at the right edge.
//!
//! A sealed segment is one blob, so that a look-up reads one row of about 2 KB:
//!
//! ```text
//! 1 byte    version, 2
//! 1 byte    dictionary of the names, 0 for none
//! 8 bytes   XXH3-64 of everything after it, little-endian; its seed is the row's [`RowPlace`]
//! 1024      sixteen times the zip's hash and the go.mod's hash
//! 512       sixteen times the record's hash, the leaf of the tree
//! rest      the names, one zstd frame: for each record the lengths of path and version as
//!           LEB128, then for each record path and version
//! ```
//!
//! The hashes cannot be compressed and the names can, to about a third when sixteen neighbours
//! share a frame. The checksum finds a flipped bit whenever the row is read; it proves nothing to a
//! stranger, the leaves do. Because of the seed it also finds a row that damaged pages show under
//! another number or in another table. A tail row has the same fields for one record, then XXH3-64
//! of its evidence, then the names as they are.
//!
//! Version 1, of an older program, has no seed. The reader proves by the tree that such a segment
//! is in its place.

use std::io;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::dirhash::H1;
use crate::gosum::ModuleLines;
use crate::module::ModuleVersion;
use crate::tlog::Hash;

/// Records in a segment.
pub(super) const SEGMENT_WIDTH: u64 = 16;
pub(super) const WIDTH: usize = SEGMENT_WIDTH as usize;

const VERSION: u8 = 2;
/// Of an older program: the checksum does not know the row's place.
const UNPLACED: u8 = 1;
const HEADER_BYTES: usize = 10;
const HASHES_BYTES: usize = WIDTH * 64;
const LEAVES_BYTES: usize = WIDTH * 32;
const NAMES_AT: usize = HEADER_BYTES + HASHES_BYTES + LEAVES_BYTES;
/// In a row of the right edge: where the leaf is, the checksum of its evidence, and the names.
const TAIL_LEAF_AT: usize = HEADER_BYTES + 64;
const TAIL_EVIDENCE_AT: usize = TAIL_LEAF_AT + 32;
const TAIL_NAMES_AT: usize = TAIL_EVIDENCE_AT + 8;
/// The longest names of sixteen records: module paths and versions come from URLs, which are
/// limited to far less.
const MAX_NAMES_BYTES: usize = WIDTH * 8192;
/// The most that the records of a mirrored log can have: a data tile is not larger.
const MAX_LONG_NAMES_BYTES: u64 = 8 << 20;
/// Level 3 is zstd's default; higher levels gain nothing on a kilobyte.
const ZSTD_LEVEL: i32 = 3;

/// Where a row belongs. The seed of its checksum follows from that.
#[derive(Clone, Copy, Debug)]
pub(super) enum RowPlace {
    /// A segment, by its number.
    Segment(u64),
    /// A record of the right edge, by its number.
    Tail(u64),
    /// Evidence, by the number of its tile.
    Evidence(u64),
    /// Hashes, by the number of their row.
    Tile(i64),
    /// A bucket of the index, by what says which run it belongs to and its number there.
    Bucket(u64),
}

impl RowPlace {
    /// No row of two tables has the same one; zero is what older programs used.
    fn seed(self) -> u64 {
        let (table, number) = match self {
            RowPlace::Segment(number) => (1, number),
            RowPlace::Tail(number) => (2, number),
            RowPlace::Evidence(number) => (3, number),
            RowPlace::Tile(number) => (4, number as u64),
            // A digest already.
            RowPlace::Bucket(mark) => return mark,
        };
        (table << 60) ^ number
    }
}

/// One record as the store moves it around.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RecordRow {
    pub(super) lines: ModuleLines,
    pub(super) leaf: Hash,
}

/// Writes segments. Keeps its compression context, which is dear to make.
pub(super) struct Encoder {
    zstd: zstd::bulk::Compressor<'static>,
    names: Vec<u8>,
}

impl Encoder {
    pub(super) fn new() -> io::Result<Encoder> {
        let mut zstd = zstd::bulk::Compressor::new(ZSTD_LEVEL)?;
        // The segment has a checksum over everything and knows its own size: the frame need not
        // repeat them.
        zstd.include_checksum(false)?;
        Ok(Encoder { zstd, names: Vec::new() })
    }

    /// The segment with this number, of exactly sixteen records.
    pub(super) fn segment<'a>(
        &mut self,
        segment: u64,
        rows: impl Iterator<Item = &'a RecordRow> + Clone,
    ) -> io::Result<Vec<u8>> {
        let mut body = Vec::with_capacity(NAMES_AT + 512);
        body.extend([VERSION, 0]);
        body.extend([0; 8]);
        self.names.clear();
        let mut count = 0;
        for row in rows.clone() {
            body.extend(row.lines.zip.as_bytes());
            body.extend(row.lines.go_mod.as_bytes());
            push_length(&mut self.names, row.lines.module.path.as_str().len());
            push_length(&mut self.names, row.lines.module.version.as_str().len());
            count += 1;
        }
        assert_eq!(count, WIDTH, "a segment holds sixteen records");
        for row in rows {
            body.extend(row.leaf.as_bytes());
            self.names.extend(row.lines.module.path.as_str().as_bytes());
            self.names.extend(row.lines.module.version.as_str().as_bytes());
        }
        body.extend(self.zstd.compress(&self.names)?);
        seal(RowPlace::Segment(segment), &mut body);
        Ok(body)
    }
}

/// Reads segments. Keeps its decompression context and buffer.
pub(super) struct Decoder {
    zstd: zstd::bulk::Decompressor<'static>,
    /// What was decompressed last.
    pub(super) names: Vec<u8>,
    /// For names that were compressed with the database's dictionary, once that was read.
    dictionary: Option<zstd::bulk::Decompressor<'static>>,
    /// Names in full, where they are stored in a shorter form.
    pub(super) text: String,
    /// A frame as it is put together again.
    pub(super) frame: Vec<u8>,
}

/// Why a stored row cannot be what was written.
pub(super) type Why = String;

impl Decoder {
    pub(super) fn new() -> io::Result<Decoder> {
        let (zstd, names) = (zstd::bulk::Decompressor::new()?, Vec::with_capacity(MAX_NAMES_BYTES));
        Ok(Decoder { zstd, names, dictionary: None, text: String::new(), frame: Vec::new() })
    }

    /// Whether names with a dictionary can be read.
    pub(super) fn has_dictionary(&self) -> bool {
        self.dictionary.is_some()
    }

    pub(super) fn set_dictionary(&mut self, dictionary: &[u8]) -> io::Result<()> {
        self.dictionary = Some(zstd::bulk::Decompressor::with_dictionary(dictionary)?);
        Ok(())
    }

    /// The record of a module version in a segment, and its position (0 to 15).
    pub(super) fn find(
        &mut self,
        segment: u64,
        body: &[u8],
        module: &ModuleVersion,
    ) -> Result<Option<(usize, ModuleLines)>, Why> {
        check_segment(segment, body)?;
        self.decompress(&body[NAMES_AT..], false)?;
        let names = self.split_names()?;
        let sought = (module.path.as_str(), module.version.as_str());
        let at = names.iter().position(|name| *name == sought);
        Ok(at.map(|at| (at, lines_of(sought.0, sought.1, &body[HEADER_BYTES + at * 64..][..64]))))
    }

    /// All sixteen records of a segment.
    pub(super) fn all(&mut self, segment: u64, body: &[u8]) -> Result<Vec<ModuleLines>, Why> {
        check_segment(segment, body)?;
        self.decompress(&body[NAMES_AT..], false)?;
        let names = self.split_names()?;
        let hashes = body[HEADER_BYTES..][..HASHES_BYTES].chunks_exact(64);
        Ok(names
            .iter()
            .zip(hashes)
            .map(|((path, version), hashes)| lines_of(path, version, hashes))
            .collect())
    }

    /// Path and version of each record, from what was decompressed.
    pub(super) fn split_names(&self) -> Result<[(&str, &str); WIDTH], Why> {
        let text = self.names.as_slice();
        let mut at = 0;
        let mut lengths = [(0, 0); WIDTH];
        for pair in &mut lengths {
            *pair = (pop_length(text, &mut at)?, pop_length(text, &mut at)?);
        }
        let text = std::str::from_utf8(&text[at..]).map_err(|_| "names are not UTF-8".to_owned())?;
        let mut rest = text;
        let mut names = [("", ""); WIDTH];
        for (name, (path, version)) in names.iter_mut().zip(lengths) {
            let (head, tail) = rest.split_at_checked(path).ok_or("a path is cut off")?;
            let (second, tail) = tail.split_at_checked(version).ok_or("a version is cut off")?;
            *name = (head, second);
            rest = tail;
        }
        if rest.is_empty() { Ok(names) } else { Err("bytes after the last name".to_owned()) }
    }
}

impl Decoder {
    /// Decompresses into `names`.
    pub(super) fn decompress(&mut self, frame: &[u8], with_dictionary: bool) -> Result<(), Why> {
        let zstd = match &mut self.dictionary {
            Some(zstd) if with_dictionary => zstd,
            None if with_dictionary => return Err("there is no dictionary for its names".to_owned()),
            _ => &mut self.zstd,
        };
        self.names.clear();
        // Hardly ever larger than the buffer is: a log that takes records without the form of
        // go.sum lines may have some.
        let size = zstd::zstd_safe::get_frame_content_size(frame).ok().flatten().unwrap_or_default();
        if size > MAX_NAMES_BYTES as u64 {
            self.names.reserve_exact(size.min(MAX_LONG_NAMES_BYTES) as usize);
        }
        zstd.decompress_to_buffer(frame, &mut self.names)
            .map_err(|error| format!("names do not decompress: {error}"))?;
        Ok(())
    }
}

/// Whether the checksum of a segment that was read says that it is in its place.
pub(super) fn is_placed(body: &[u8]) -> bool {
    body.first() != Some(&UNPLACED)
}

/// The leaves of a segment, in order.
pub(super) fn segment_leaves(segment: u64, body: &[u8]) -> Result<impl Iterator<Item = Hash> + '_, Why> {
    check_segment(segment, body)?;
    Ok(body[HEADER_BYTES + HASHES_BYTES..NAMES_AT]
        .chunks_exact(32)
        .map(|hash| Hash::from_slice(hash).expect("the chunks are 32 bytes long")))
}

/// Whether a body that is about to be written gives back what went in, hash by hash: what is
/// written wrong stays so for ever.
pub(super) fn check_written(
    decoder: &mut Decoder,
    segment: u64,
    body: &[u8],
    text: &mut String,
) -> Result<(), Why> {
    let records = decoder.all(segment, body)?;
    for (at, (lines, leaf)) in records.iter().zip(segment_leaves(segment, body)?).enumerate() {
        check_leaf(lines, leaf, text).map_err(|why| format!("record {at} of it: {why}"))?;
    }
    Ok(())
}

/// Whether a leaf is the hash of its record. `text` is only room to write in.
pub(super) fn check_leaf(lines: &ModuleLines, leaf: Hash, text: &mut String) -> Result<(), Why> {
    text.clear();
    lines.push_text(text);
    let computed = Hash::of_record(text.as_bytes());
    if computed == leaf {
        Ok(())
    } else {
        Err(format!("the lines have the hash {computed}, its leaf is {leaf}"))
    }
}

/// A row of the right edge. The evidence lies beside it as text, and is covered by a checksum in
/// here.
pub(super) fn encode_tail(id: u64, row: &RecordRow, evidence: &str) -> Vec<u8> {
    let mut body = vec![VERSION, 0];
    body.extend([0; 8]);
    body.extend(row.lines.zip.as_bytes());
    body.extend(row.lines.go_mod.as_bytes());
    body.extend(row.leaf.as_bytes());
    body.extend(xxh3_64(evidence.as_bytes()).to_le_bytes());
    push_length(&mut body, row.lines.module.path.as_str().len());
    body.extend(row.lines.module.path.as_str().as_bytes());
    body.extend(row.lines.module.version.as_str().as_bytes());
    seal(RowPlace::Tail(id), &mut body);
    body
}

/// Reads a row of the right edge.
pub(super) fn decode_tail(id: u64, body: &[u8]) -> Result<RecordRow, Why> {
    check(RowPlace::Tail(id), body, TAIL_NAMES_AT)?;
    let leaf = Hash::from_slice(&body[TAIL_LEAF_AT..TAIL_EVIDENCE_AT]).expect("the slice is 32 bytes long");
    let mut at = TAIL_NAMES_AT;
    let length = pop_length(body, &mut at)?;
    let names = std::str::from_utf8(&body[at..]).map_err(|_| "names are not UTF-8".to_owned())?;
    let (path, version) = names.split_at_checked(length).ok_or("the path is cut off")?;
    Ok(RecordRow { lines: lines_of(path, version, &body[HEADER_BYTES..][..64]), leaf })
}

/// Whether a text is the evidence that was stored beside a row of the right edge.
pub(super) fn check_tail_evidence(id: u64, body: &[u8], evidence: &str) -> Result<(), Why> {
    check(RowPlace::Tail(id), body, TAIL_NAMES_AT)?;
    if body[TAIL_EVIDENCE_AT..TAIL_NAMES_AT] == xxh3_64(evidence.as_bytes()).to_le_bytes() {
        Ok(())
    } else {
        Err("the checksum of the evidence does not match".to_owned())
    }
}

/// Puts a checksum in front of a body that has no header of its own.
pub(super) fn wrap(body: &[u8]) -> Vec<u8> {
    with_sum(xxh3_64(body), body)
}

/// Checks and removes what [`wrap`] put in front.
pub(super) fn unwrap(wrapped: &[u8]) -> Result<&[u8], Why> {
    let (sum, body) = split_sum(wrapped)?;
    if sum == xxh3_64(body) { Ok(body) } else { Err(mismatch()) }
}

/// The same as [`wrap`] for a row of the log, whose checksum also says where the row belongs.
pub(super) fn wrap_at(place: RowPlace, body: &[u8]) -> Vec<u8> {
    with_sum(xxh3_64_with_seed(body, place.seed()), body)
}

/// Checks and removes what [`wrap_at`] put in front, or [`wrap`] in an older program.
pub(super) fn unwrap_at(place: RowPlace, wrapped: &[u8]) -> Result<&[u8], Why> {
    let (sum, body) = split_sum(wrapped)?;
    if sum == xxh3_64_with_seed(body, place.seed()) || sum == xxh3_64(body) {
        Ok(body)
    } else {
        Err(mismatch())
    }
}

fn with_sum(sum: u64, body: &[u8]) -> Vec<u8> {
    let mut wrapped = Vec::with_capacity(8 + body.len());
    wrapped.extend(sum.to_le_bytes());
    wrapped.extend(body);
    wrapped
}

fn split_sum(wrapped: &[u8]) -> Result<(u64, &[u8]), Why> {
    let (sum, body) = wrapped.split_first_chunk::<8>().ok_or("shorter than its checksum")?;
    Ok((u64::from_le_bytes(*sum), body))
}

fn mismatch() -> Why {
    "the checksum does not match".to_owned()
}

fn seal(place: RowPlace, body: &mut [u8]) {
    let sum = xxh3_64_with_seed(&body[HEADER_BYTES..], place.seed());
    body[2..HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
}

fn check_segment(segment: u64, body: &[u8]) -> Result<(), Why> {
    check(RowPlace::Segment(segment), body, NAMES_AT)
}

fn check(place: RowPlace, body: &[u8], least: usize) -> Result<(), Why> {
    if body.len() < least {
        return Err(format!("{} bytes where at least {least} belong", body.len()));
    }
    let seed = match body[..2] {
        [VERSION, 0] => place.seed(),
        [UNPLACED, 0] => 0,
        _ => return Err(format!("unknown layout {}.{}", body[0], body[1])),
    };
    let sum =
        u64::from_le_bytes(body[2..HEADER_BYTES].try_into().expect("the header has eight bytes for it"));
    if sum == xxh3_64_with_seed(&body[HEADER_BYTES..], seed) { Ok(()) } else { Err(mismatch()) }
}

fn lines_of(path: &str, version: &str, hashes: &[u8]) -> ModuleLines {
    let (zip, go_mod) = hashes.split_first_chunk::<32>().expect("a record has 64 bytes of hashes");
    let go_mod = go_mod.try_into().expect("a record has 64 bytes of hashes");
    let module = ModuleVersion::from_store(path, version);
    ModuleLines { module, zip: H1::from_bytes(*zip), go_mod: H1::from_bytes(go_mod) }
}

pub(super) fn push_length(out: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

fn pop_length(body: &[u8], at: &mut usize) -> Result<usize, Why> {
    let mut length = 0;
    for shift in [0, 7, 14, 21] {
        let byte = *body.get(*at).ok_or("a length is cut off")?;
        *at += 1;
        length |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(length);
        }
    }
    Err("a length is too large".to_owned())
}
