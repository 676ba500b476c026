//! What all logs together keep in memory of what was asked lately, by weight, and how an answer is put together from it.
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

use std::fmt::Write as _;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::module::ModuleVersion;
use crate::share::byte_cache::ByteCache;
use crate::tlog::{RecordId, Tile};

/// What a kept entry costs beside its bytes: key, hash table, bookkeeping and what the allocator adds.
const ENTRY_BYTES: u64 = 112;
/// About what a tile and a look-up weigh: room for as many entries is made at first.
const TILE_BYTES: u64 = 16 << 10;
const LOOKUP_BYTES: u64 = 512;

/// How much memory is spent on what was asked lately, of all logs together.
#[derive(Clone, Copy, Debug)]
pub struct CacheSizes {
    /// Bytes of tiles.
    pub tile_bytes: u64,
    /// Bytes of look-ups.
    pub lookup_bytes: u64,
}

/// What was asked lately, of all logs: the one that is asked most has most of it.
pub struct Recent {
    tiles: ByteCache<(LogNumber, Tile)>,
    lookups: ByteCache<(LogNumber, u64)>,
    hasher: RandomState,
    logs: AtomicU16,
}

type LogNumber = u16;

/// One log's part of it.
#[derive(Clone)]
pub(super) struct RecentOf {
    log: LogNumber,
    recent: Arc<Recent>,
}

impl Recent {
    /// Room for so much.
    pub fn new(sizes: CacheSizes) -> Arc<Recent> {
        Arc::new(Recent {
            tiles: ByteCache::new(sizes.tile_bytes, TILE_BYTES, ENTRY_BYTES),
            lookups: ByteCache::new(sizes.lookup_bytes, LOOKUP_BYTES, ENTRY_BYTES),
            hasher: RandomState::new(),
            logs: AtomicU16::new(0),
        })
    }

    /// Room for one more log.
    pub(super) fn of_log(self: &Arc<Self>) -> RecentOf {
        let log = self.logs.fetch_add(1, Ordering::Relaxed);
        assert_ne!(log, LogNumber::MAX, "no configuration has so many logs");
        RecentOf { log, recent: self.clone() }
    }
}

impl RecentOf {
    /// Bytes of the tiles and of the look-ups of all logs.
    pub(super) fn all_bytes(&self) -> (u64, u64) {
        (self.recent.tiles.bytes(), self.recent.lookups.bytes())
    }

    pub(super) fn tile(&self, tile: &Tile) -> Option<Bytes> {
        self.recent.tiles.get(&(self.log, *tile))
    }

    pub(super) fn keep_tile(&self, tile: &Tile, body: &Bytes) {
        self.recent.tiles.insert((self.log, *tile), body.clone());
    }

    /// By which a look-up is kept: a secret hash of the module version, which is half the memory of the names themselves; the
    /// lines say whose they are.
    pub(super) fn key(&self, module: &ModuleVersion) -> u64 {
        self.recent.hasher.hash_one(module)
    }

    /// The record's part of a look-up.
    pub(super) fn lookup(&self, key: u64, module: &ModuleVersion) -> Option<Bytes> {
        self.recent.lookups.get(&(self.log, key)).filter(|part| is_about(part, module))
    }

    pub(super) fn keep_lookup(&self, key: u64, part: &Bytes) {
        self.recent.lookups.insert((self.log, key), part.clone());
    }
}

/// The record's part of a look-up: number and lines.
pub(super) fn record_part(id: RecordId, text: &str) -> Bytes {
    let digits = id.0.checked_ilog10().unwrap_or(0) as usize + 1;
    // Exactly as much as it takes: it is kept as long as it is asked for.
    let mut part = String::with_capacity(digits + 1 + text.len());
    write!(part, "{id}\n{text}").expect("a text takes what it is given");
    part.into()
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
fn is_about(record: &[u8], module: &ModuleVersion) -> bool {
    let line = record.iter().position(|byte| *byte == b'\n').map_or(&[][..], |end| &record[end + 1..]);
    let rest = line.strip_prefix(module.path.as_str().as_bytes()).and_then(|rest| rest.strip_prefix(b" "));
    let rest = rest.and_then(|rest| rest.strip_prefix(module.version.as_str().as_bytes()));
    rest.is_some_and(|rest| rest.starts_with(b" "))
}
