//! One data tile and the hash tile over it: forms, hashes, names.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use super::finding::{AuditFinding, Subject, of_tile};
use super::is_sampled;
use crate::gosum::{LineParts, ModuleLines};
use crate::module::ModuleVersion;
use crate::tlog::{Hash, TILE_HEIGHT, TILE_WIDTH, Tile, TileLevel, split_data_tile};

/// A secret of the audit, so that nobody can make names whose hashes are the same.
pub(super) type NameKey = [u8; 16];

/// What one block has.
#[derive(Debug)]
pub(super) struct Block {
    /// The hashes of its records.
    pub(super) leaves: Vec<Hash>,
    /// The hashes of their names, `path@version`; none where a record has no such thing.
    pub(super) names: Vec<Option<u64>>,
    pub(super) findings: Vec<AuditFinding>,
    /// Records that are to be looked up.
    pub(super) sample: Vec<(u64, String)>,
}

/// What is to be checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct TileJob {
    pub(super) number: u64,
    /// How many of the tile's records count.
    pub(super) width: u32,
    pub(super) key: NameKey,
    /// The size of the log.
    pub(super) total: u64,
}

/// Checks a block. `data` may be of a wider tile: a partial one may be gone when it is asked for. An error is why its records
/// cannot be told apart.
pub(super) fn check(place: TileJob, data: &[u8], hashes: &[u8]) -> Result<Block, String> {
    let TileJob { number, width, key, total } = place;
    let mut texts = split_data_tile(data).map_err(|error| error.to_string())?;
    let wanted = width as usize;
    if texts.len() < wanted || (texts.len() > wanted && width as u64 == TILE_WIDTH) {
        return Err(format!("it has {} records, not {width}", texts.len()));
    }
    texts.truncate(wanted);
    let mut block = Block {
        leaves: Vec::with_capacity(wanted),
        names: Vec::with_capacity(wanted),
        findings: Vec::new(),
        sample: Vec::new(),
    };
    for (id, text) in (number * TILE_WIDTH..).zip(texts) {
        block.leaves.push(Hash::of_record(text.as_bytes()));
        match form(text) {
            Ok((path, version)) => block.names.push(Some(hash_name(&key, path, version))),
            Err(why) => {
                block.names.push(None);
                block.findings.push(AuditFinding::new(Subject::Records, format!("record {id}"), why));
            }
        }
        if is_sampled(id, total) {
            block.sample.push((id, text.to_owned()));
        }
    }
    let tile = Tile { height: TILE_HEIGHT, level: TileLevel::Hash(0), number, width };
    let computed: Vec<u8> = block.leaves.iter().flat_map(|leaf| *leaf.as_bytes()).collect();
    block.findings.extend(of_tile(&tile, hashes, &computed));
    Ok(block)
}

/// The module version that a record is of; or why it is not the two lines of one.
fn form(text: &str) -> Result<(&str, &str), String> {
    let wrong = || match ModuleLines::parse(text) {
        Err(error) => format!("{error}: {:?}", text.chars().take(200).collect::<String>()),
        Ok(_) => "its lines are read in two ways".to_owned(),
    };
    let parts = LineParts::parse(text).ok_or_else(wrong)?;
    ModuleVersion::from_parts(parts.path, parts.version).map_err(|_| wrong())?;
    Ok((parts.path, parts.version))
}

/// The name of a record as it is compared; 64 bits, so that two names share one once in a billion audits of a large log.
fn hash_name(key: &NameKey, path: &str, version: &str) -> u64 {
    let mut sip = SipHasher13::new_with_key(key);
    sip.write(path.as_bytes());
    sip.write(b"@");
    sip.write(version.as_bytes());
    sip.finish()
}
