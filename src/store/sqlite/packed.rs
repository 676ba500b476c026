//! How the records of a mirrored log lie on disk: layout 2 of a [`segment`](super::segment), without the leaves.
//!
//! ```text
//! 1 byte    layout, 2
//! 1 byte    dictionary of the names: 0 for none, 1 for the database's
//! 8 bytes   XXH3-64 of everything after it, seeded with the two bytes before it, little-endian
//! 1024      sixteen times the zip's hash and the go.mod's hash
//! rest      the names, one zstd frame: for each record the lengths of path and version as LEB128, then for each record
//!           path and version
//! ```
//!
//! A leaf is computed from its record in a fifth of a microsecond, so a mirror does not keep it. Who runs the remote log may take
//! other records than go.sum lines, and a mirror keeps what the log has: such a record has no version, 64 zero
//! bytes for its hashes, and its whole text for a path.

use std::io;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::segment::{Decoder, WIDTH, Why, push_length};
use crate::dirhash::H1;
use crate::gosum::{LineParts, ModuleLines};
use crate::module::ModuleVersion;

const LAYOUT: u8 = 2;
const HEADER_BYTES: usize = 10;
const NAMES_AT: usize = HEADER_BYTES + WIDTH * 64;
/// With a dictionary, higher levels gain a percent and cost twice the time.
const ZSTD_LEVEL: i32 = 3;

/// A record as it is stored, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parts<'a> {
    /// The path, or the whole text of a record that is not two go.sum lines.
    pub(super) path: &'a str,
    /// Empty for such a record.
    pub(super) version: &'a str,
    zip: H1,
    go_mod: H1,
}

impl<'a> Parts<'a> {
    pub(super) fn of(text: &'a str) -> Parts<'a> {
        let none = H1::from_bytes([0; 32]);
        match LineParts::parse(text) {
            Some(LineParts { path, version, zip, go_mod })
                if ModuleVersion::from_parts(path, version).is_ok() =>
            {
                Parts { path, version, zip, go_mod }
            }
            _ => Parts { path: text, version: "", zip: none, go_mod: none },
        }
    }

    /// The lines, unless the record is something else.
    pub(super) fn lines(&self) -> Option<ModuleLines> {
        let module = || ModuleVersion::from_store(self.path, self.version);
        (!self.version.is_empty()).then(|| ModuleLines {
            module: module(),
            zip: self.zip,
            go_mod: self.go_mod,
        })
    }

    /// Appends the record's text.
    pub(super) fn push_text(&self, text: &mut String) {
        let Parts { path, version, zip, go_mod } = *self;
        if version.is_empty() {
            text.push_str(path);
        } else {
            LineParts { path, version, zip, go_mod }.push_text(text);
        }
    }
}

/// Writes segments. Keeps its compression context, which is dear to make.
pub(super) struct Packer {
    zstd: zstd::bulk::Compressor<'static>,
    dictionary: u8,
    names: Vec<u8>,
}

impl Packer {
    pub(super) fn new(dictionary: Option<&[u8]>) -> io::Result<Packer> {
        let mut zstd = zstd::bulk::Compressor::with_dictionary(ZSTD_LEVEL, dictionary.unwrap_or_default())?;
        // The segment has a checksum over everything, and says which dictionary: the frame need not repeat them.
        zstd.include_checksum(false)?;
        zstd.include_dictid(false)?;
        Ok(Packer { zstd, dictionary: u8::from(dictionary.is_some()), names: Vec::new() })
    }

    /// One segment of exactly sixteen records.
    pub(super) fn segment(&mut self, records: &[Parts<'_>]) -> io::Result<Vec<u8>> {
        assert_eq!(records.len(), WIDTH, "a segment holds sixteen records");
        let mut body = Vec::with_capacity(NAMES_AT + 640);
        body.extend([LAYOUT, self.dictionary]);
        body.extend([0; 8]);
        for record in records {
            body.extend(record.zip.as_bytes());
            body.extend(record.go_mod.as_bytes());
        }
        names_of(records, &mut self.names);
        body.extend(self.zstd.compress(&self.names)?);
        let sum = checksum(&body);
        body[2..HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
        Ok(body)
    }
}

/// The names of a segment before compression.
pub(super) fn names_of(records: &[Parts<'_>], names: &mut Vec<u8>) {
    names.clear();
    for record in records {
        push_length(names, record.path.len());
        push_length(names, record.version.len());
    }
    for record in records {
        names.extend(record.path.as_bytes());
        names.extend(record.version.as_bytes());
    }
}

/// Whether a segment cannot be read without the database's dictionary.
pub(super) fn needs_dictionary(body: &[u8]) -> bool {
    body.get(1).is_some_and(|dictionary| *dictionary != 0)
}

impl Decoder {
    /// The sixteen records of a segment.
    pub(super) fn packed<'a>(
        &'a mut self,
        body: &'a [u8],
    ) -> Result<impl Iterator<Item = Parts<'a>> + 'a, Why> {
        if body.len() < NAMES_AT {
            return Err(format!("{} bytes where at least {NAMES_AT} belong", body.len()));
        }
        if body[0] != LAYOUT || body[1] > 1 {
            return Err(format!("unknown layout {}.{}", body[0], body[1]));
        }
        if body[2..HEADER_BYTES] != checksum(body).to_le_bytes() {
            return Err("the checksum does not match".to_owned());
        }
        let names = self.names(&body[NAMES_AT..], needs_dictionary(body))?;
        let hashes = body[HEADER_BYTES..NAMES_AT].as_chunks::<32>().0.chunks_exact(2);
        Ok(names.into_iter().zip(hashes).map(|((path, version), hashes)| {
            let (zip, go_mod) = (H1::from_bytes(hashes[0]), H1::from_bytes(hashes[1]));
            Parts { path, version, zip, go_mod }
        }))
    }
}

fn checksum(body: &[u8]) -> u64 {
    let seed = u64::from(body[0]) << 8 | u64::from(body[1]);
    xxh3_64_with_seed(&body[HEADER_BYTES..], seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts() -> Vec<String> {
        let hash = |n: u8| H1::from_bytes([n; 32]);
        let mut texts: Vec<String> = (0..14u8)
            .map(|n| {
                format!(
                    "example.com/a{n} v1.0.{n} {}\nexample.com/a{n} v1.0.{n}/go.mod {}\n",
                    hash(n),
                    hash(n + 100)
                )
            })
            .collect();
        // What a log may have beside go.sum lines: another text, and one that is too long for the usual buffer.
        texts.push("anything at all\n".to_owned());
        texts.push(format!("{}\n", "long ".repeat(400_000)));
        texts
    }

    #[test]
    fn segments_give_back_what_was_packed_and_notice_every_flipped_bit() {
        let texts = texts();
        let records: Vec<Parts<'_>> = texts.iter().map(|text| Parts::of(text)).collect();
        assert_eq!(records.iter().filter(|record| record.version.is_empty()).count(), 2);
        for dictionary in [None, Some(&b"example.com/ v1.0. v0.0.0-2026"[..])] {
            let mut decoder = Decoder::new().unwrap();
            if let Some(dictionary) = dictionary {
                decoder.set_dictionary(dictionary).unwrap();
            }
            let body = Packer::new(dictionary).unwrap().segment(&records).unwrap();
            assert_eq!(needs_dictionary(&body), dictionary.is_some());
            for (record, text) in decoder.packed(&body).unwrap().zip(&texts) {
                let mut printed = String::new();
                record.push_text(&mut printed);
                assert_eq!(printed, *text);
            }
            for at in 0..body.len() * 8 {
                let mut flipped = body.clone();
                flipped[at / 8] ^= 1 << (at % 8);
                assert!(decoder.packed(&flipped).is_err(), "bit {at}");
            }
        }
    }
}
