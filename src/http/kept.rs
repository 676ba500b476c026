//! What logs keep in memory of what was asked lately, by weight, and how an answer is put together from it.
//!
//! A record never changes, so what is kept of a look-up is the record's part, to which the newest head is joined each time:
//!
//! ```text
//! 942                                          ┐
//! rsc.io/quote v1.5.2 h1:w5fc…                 │ kept
//! rsc.io/quote v1.5.2/go.mod h1:LzX7…          ┘
//!
//! go.sum database tree                           the newest head, as it was signed
//! …
//! ```

use std::hash::Hash;

use bytes::{BufMut as _, Bytes, BytesMut};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::module::ModuleVersion;
use crate::tlog::{RecordId, Tile};

/// What a kept entry costs beside its bytes: key, hash table, bookkeeping and what the allocator adds.
const ENTRY_BYTES: u64 = 112;
/// About what a tile and a look-up weigh: room for as many entries is made at first.
const TILE_BYTES: u64 = 16 << 10;
const LOOKUP_BYTES: u64 = 512;

/// An entry weighs what it takes.
#[derive(Clone, Copy)]
pub(super) struct Bytewise;

impl<K> Weighter<K, Bytes> for Bytewise {
    fn weight(&self, _: &K, body: &Bytes) -> u64 {
        body.len() as u64 + ENTRY_BYTES
    }
}

/// How much memory is spent on what was asked lately.
#[derive(Clone, Copy, Debug)]
pub struct CacheSizes {
    /// Bytes of tiles.
    pub tile_bytes: u64,
    /// Bytes of look-ups.
    pub lookup_bytes: u64,
}

fn cache<K: Hash + Eq>(bytes: u64, each: u64) -> Cache<K, Bytes, Bytewise> {
    Cache::with_weighter((bytes / each) as usize, bytes, Bytewise)
}

/// Room for tiles.
pub(super) fn tiles(sizes: CacheSizes) -> Cache<Tile, Bytes, Bytewise> {
    cache(sizes.tile_bytes, TILE_BYTES)
}

/// Room for the records' parts of look-ups, by a secret hash of the module version, which is half the memory of the names
/// themselves; the lines say whose they are.
pub(super) fn lookups(sizes: CacheSizes) -> Cache<u64, Bytes, Bytewise> {
    cache(sizes.lookup_bytes, LOOKUP_BYTES)
}

/// The record's part of a look-up: number and lines.
pub(super) fn record_part(id: RecordId, text: &str) -> Bytes {
    format!("{id}\n{text}").into()
}

/// The number of such a part.
pub(super) fn record_of(part: &[u8]) -> RecordId {
    let digits = part.iter().take_while(|byte| byte.is_ascii_digit());
    RecordId(digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

/// The body of a look-up: number, lines, blank line, signed head.
pub(super) fn with_head(record: &[u8], note: &str) -> Bytes {
    let mut body = BytesMut::with_capacity(record.len() + 1 + note.len());
    body.put_slice(record);
    body.put_u8(b'\n');
    body.put_slice(note.as_bytes());
    body.freeze()
}

/// Whether a kept look-up is that of this module version: `<number>\n<path> <version> h1:…`.
pub(super) fn is_about(record: &[u8], module: &ModuleVersion) -> bool {
    let line = record.iter().position(|byte| *byte == b'\n').map_or(&[][..], |end| &record[end + 1..]);
    let rest = line.strip_prefix(module.path.as_str().as_bytes()).and_then(|rest| rest.strip_prefix(b" "));
    let rest = rest.and_then(|rest| rest.strip_prefix(module.version.as_str().as_bytes()));
    rest.is_some_and(|rest| rest.starts_with(b" "))
}
