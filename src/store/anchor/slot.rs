//! The texts of an anchor's file, and which of them counts. The format is in [`file`](super::file).

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::Anchored;
use crate::tlog::{Hash, TreeHead, TreeSize};

/// The disks' larger sector: a torn write damages no page but its own.
pub(super) const PAGE_BYTES: usize = 4096;
const COPIES: usize = 2;
const SLOTS: usize = 2;
pub(super) const PAGES: usize = SLOTS * COPIES;
pub(super) const FILE_BYTES: usize = PAGES * PAGE_BYTES;

pub(super) const VERSION: u64 = 1;
const MAGIC: &str = "tallystick anchor ";

/// One text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) sequence: u64,
    pub(super) anchored: Anchored,
    pub(super) at: Timestamp,
}

impl Slot {
    /// Where in the file its copies are.
    pub(super) fn offset(&self) -> u64 {
        self.sequence % SLOTS as u64 * (COPIES * PAGE_BYTES) as u64
    }

    /// Whether a writer may replace `before` by this. A log keeps its key, and goes forward.
    pub(super) fn may_follow(&self, before: &Slot) -> bool {
        let (now, before) = (&self.anchored, &before.anchored);
        now.vkey == before.vkey
            && now.epoch >= before.epoch
            && (now.tree.size > before.tree.size || now.tree == before.tree)
    }

    fn to_text(&self) -> String {
        let Slot { sequence, anchored: Anchored { vkey, epoch, tree, stops }, at } = self;
        let TreeHead { size, root } = tree;
        let mut text = format!(
            "{MAGIC}{VERSION}\nsequence {sequence}\nlog {vkey}\nepoch {epoch}\nsize {size}\nroot {root}\nstops {stops}\n\
             at {at}\n"
        );
        let sum = Hash::from_bytes(Sha256::digest(text.as_bytes()).into());
        text += &format!("sha256 {sum}\n");
        text
    }

    /// Both copies, as they are written.
    pub(super) fn to_slot(&self) -> Result<Vec<u8>, String> {
        let text = self.to_text();
        if text.len() >= PAGE_BYTES || self.anchored.vkey.contains(['\n', '\0']) {
            return Err(format!(
                "the verifier key of {} bytes does not fit into it",
                self.anchored.vkey.len()
            ));
        }
        let mut page = text.into_bytes();
        page.resize(PAGE_BYTES, 0);
        Ok(page.repeat(COPIES))
    }

    /// A whole file in which this text stands alone: both slots hold it, one a number later.
    pub(super) fn to_file(&self) -> Result<Vec<u8>, String> {
        let later = Slot { sequence: self.sequence + 1, ..self.clone() };
        let mut file = vec![0; FILE_BYTES];
        for slot in [self, &later] {
            file[slot.offset() as usize..][..COPIES * PAGE_BYTES].copy_from_slice(&slot.to_slot()?);
        }
        Ok(file)
    }

    /// Parses a page, strictly: what it says printed again is the page, byte for byte.
    pub(super) fn from_page(page: &[u8]) -> Option<Slot> {
        let end = page.iter().position(|byte| *byte == 0)?;
        let text = std::str::from_utf8(&page[..end]).ok()?;
        let mut lines = text.lines().skip(1);
        let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        let sequence = field("sequence")?.parse().ok()?;
        let (vkey, epoch) = (field("log")?.to_owned(), field("epoch")?.parse().ok()?);
        let size = TreeSize(field("size")?.parse().ok()?);
        let tree = TreeHead { size, root: field("root")?.parse().ok()? };
        let (stops, at) = (field("stops")?.parse().ok()?, field("at")?.parse().ok()?);
        let slot = Slot { sequence, anchored: Anchored { vkey, epoch, tree, stops }, at };
        let is_same = slot.to_text() == text && page[end..].iter().all(|byte| *byte == 0);
        is_same.then_some(slot)
    }
}

/// The version of the format in which a page is written, if it is an anchor's.
pub(super) fn version(page: &[u8]) -> Option<u64> {
    let line = page.split(|byte| *byte == b'\n').next()?;
    std::str::from_utf8(line).ok()?.strip_prefix(MAGIC)?.parse().ok()
}

/// The newest text of all pages, or why nobody can know it.
pub(super) fn newest(pages: &[Option<Box<[u8]>>; PAGES]) -> Result<Slot, String> {
    let mut found: Vec<Slot> = Vec::with_capacity(SLOTS);
    for (number, copies) in pages.chunks(COPIES).enumerate() {
        let texts = copies.iter().flatten().filter_map(|page| Slot::from_page(page));
        let of_this = texts.filter(|slot| slot.sequence % SLOTS as u64 == number as u64);
        let newest = of_this.max_by_key(|slot| slot.sequence);
        found.push(newest.ok_or_else(|| {
            format!("both copies of slot {number} are damaged, which may have held the highest head")
        })?);
    }
    found.sort_by_key(|slot| slot.sequence);
    let [older, newer] = <[Slot; SLOTS]>::try_from(found).expect("one text for each slot");
    if !newer.may_follow(&older) {
        return Err(format!("text {} cannot have followed text {}", newer.sequence, older.sequence));
    }
    Ok(newer)
}
