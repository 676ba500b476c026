//! All names of a log, to find one that is there twice: sixteen bytes each, in 64 files by the name's hash, so that a log of
//! any size is compared a file at a time.
//!
//! ```text
//! names-00 … names-3f      8 bytes hash, 8 bytes record number, little-endian, again and again
//! ```

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::AuditError;
use super::block::NameKey;
use crate::crew::Crew;
use crate::store::private;

const FILES: usize = 64;
const ENTRY_BYTES: u64 = 16;
/// Pairs that are looked at. A log with more is told of by these.
const MAX_TWINS: usize = 1_000;

/// The names so far.
pub(super) struct Names {
    key: NameKey,
    files: Vec<Spill>,
    /// Those of the records after the last full tile, which are read again by the next audit.
    rest: Vec<(u64, u64)>,
}

struct Spill {
    path: PathBuf,
    writer: BufWriter<File>,
}

impl Names {
    /// Opens the names of the first `records` records, which must be there; what came after them is cut off.
    pub(super) fn open(directory: &Path, key: NameKey, records: u64) -> Result<Names, AuditError> {
        let mut files = Vec::with_capacity(FILES);
        for number in 0..FILES {
            let path = directory.join(format!("names-{number:02x}"));
            let failed = |error: std::io::Error| at(&path, error.to_string());
            let file = private::options().open(&path).map_err(failed)?;
            let entries = read(&path)?;
            // Within a file the records are in order.
            let keep = entries.partition_point(|(_, record)| *record < records) as u64;
            file.set_len(keep * ENTRY_BYTES).map_err(failed)?;
            let mut writer = BufWriter::new(file);
            writer.seek(SeekFrom::End(0)).map_err(failed)?;
            files.push(Spill { path: path.clone(), writer });
        }
        Ok(Names { key, files, rest: Vec::new() })
    }

    pub(super) fn key(&self) -> NameKey {
        self.key
    }

    /// Adds the names of a block that begins with record `first`.
    pub(super) fn add(&mut self, first: u64, names: &[Option<u64>], is_full: bool) -> Result<(), AuditError> {
        for (record, hash) in (first..).zip(names).filter_map(|(record, hash)| Some((record, (*hash)?))) {
            if !is_full {
                self.rest.push((hash, record));
                continue;
            }
            let Spill { path, writer } = &mut self.files[file_of(hash)];
            writer
                .write_all(&hash.to_le_bytes())
                .and_then(|()| writer.write_all(&record.to_le_bytes()))
                .map_err(|error| at(path, error.to_string()))?;
        }
        Ok(())
    }

    /// Brings what was added to the disk, before anything says that it is there.
    pub(super) fn sync(&mut self) -> Result<(), AuditError> {
        for Spill { path, writer } in &mut self.files {
            let synced = writer.flush().and_then(|()| writer.get_ref().sync_data());
            synced.map_err(|error| at(path, error.to_string()))?;
        }
        Ok(())
    }

    /// Pairs of records whose names have one hash, [`MAX_TWINS`] at most.
    pub(super) async fn twins(&mut self, crew: &Arc<Crew>) -> Result<Vec<(u64, u64)>, AuditError> {
        self.sync()?;
        let searches = self.files.iter().enumerate().map(|(number, Spill { path, .. })| {
            let rest = self.rest.iter().filter(|(hash, _)| file_of(*hash) == number);
            let (crew, path, rest) = (crew.clone(), path.clone(), rest.copied().collect::<Vec<_>>());
            tokio::spawn(async move { crew.run(move || twins_in(&path, &rest)).await })
        });
        let mut twins = Vec::new();
        for search in searches.collect::<Vec<_>>() {
            twins.extend(search.await.expect("a search neither panics nor is aborted")?);
        }
        twins.truncate(MAX_TWINS);
        Ok(twins)
    }
}

/// The pairs of one file with those of its names that are not in it.
fn twins_in(path: &Path, rest: &[(u64, u64)]) -> Result<Vec<(u64, u64)>, AuditError> {
    let mut entries = read(path)?;
    entries.extend(rest);
    entries.sort_unstable();
    let pairs = entries.windows(2).filter(|pair| pair[0].0 == pair[1].0);
    Ok(pairs.map(|pair| (pair[0].1, pair[1].1)).take(MAX_TWINS).collect())
}

fn file_of(hash: u64) -> usize {
    (hash >> 58) as usize
}

fn read(path: &Path) -> Result<Vec<(u64, u64)>, AuditError> {
    let bytes = std::fs::read(path).map_err(|error| at(path, error.to_string()))?;
    let entry = |entry: &[u8; 16]| {
        let (hash, record) = entry.split_at(8);
        let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("half of sixteen bytes"));
        (number(hash), number(record))
    };
    Ok(bytes.as_chunks().0.iter().map(entry).collect())
}

fn at(path: &Path, why: String) -> AuditError {
    AuditError::State { path: path.display().to_string(), why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn twins_are_found_across_files_ends_and_audits() {
        let crew = Arc::new(Crew::new());
        let directory = tempfile::tempdir().unwrap();
        let open = |records| Names::open(directory.path(), [7; 16], records).unwrap();
        let hash = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let names = |from: u64| -> Vec<Option<u64>> { (from..from + 256).map(|n| Some(hash(n))).collect() };
        let mut audit = open(0);
        audit.add(0, &names(0), true).unwrap();
        audit.add(256, &names(1_000), true).unwrap();
        audit.add(512, &[Some(hash(5)), None, Some(hash(2_000))], false).unwrap();
        assert_eq!(audit.twins(&crew).await.unwrap(), [(5, 512)]);
        drop(audit);
        // What was not written down as audited is cut off, and comes again.
        let mut audit = open(256);
        assert_eq!(audit.twins(&crew).await.unwrap(), []);
        audit.add(256, &names(2_000), true).unwrap();
        audit.add(512, &names(1_900), true).unwrap();
        let mut twins = audit.twins(&crew).await.unwrap();
        twins.sort_unstable();
        assert_eq!(twins.len(), 156, "2000 to 2155 are in both");
        assert_eq!(twins[0], (256, 612));
    }
}
