//! The anchor in a file of its own.
//!
//! Every change is a compare-and-swap under `flock`: a second writer, or the same writer with an
//! older past, loses.
//!
//! # The file
//!
//! One file is always the whole truth: there is nothing beside it. It has two slots, and each slot
//! has two copies of one text, each in a page of its own:
//!
//! ```text
//! byte      0    slot 0, first copy      texts with an even sequence number
//!        4096    slot 0, second copy
//!        8192    slot 1, first copy      texts with an odd sequence number
//!       12288    slot 1, second copy
//! ```
//!
//! A copy is text, so that `head -9` shows it, and zero bytes fill the rest of its page:
//!
//! ```text
//! tallystick anchor 1                                magic and version
//! sequence 17                                        one more with each write
//! log sum.corp.example+1c2d3e4f+AZ…                  the log's verifier key
//! epoch 3                                            whose holder may sign
//! size 942                                           the highest head ever published
//! root qyuG…=
//! stops 1                                            the newest stop in `<anchor>.stops`, 0 for none
//! at 2026-11-22T04:00:00Z                            when the head last moved
//! sha256 K5c3…=                                      of all lines before this one, base64
//! ```
//!
//! A write puts the next sequence number into the slot that does not hold the newest text: one
//! `pwrite` of both copies, one `fdatasync`. The newest text counts. What a reader finds:
//!
//! | slot | what happened | what counts |
//! |---|---|---|
//! | both copies valid and equal | nothing | its text |
//! | both valid, not equal | a crash tore the write between the copies | the newer text: its head was committed to the log before |
//! | one valid | a crash tore the copy that was being written, or the disk damaged one copy | the valid one: after an acknowledged write both copies hold the newest text, so damage to one cannot hide it |
//! | none valid | the disk damaged both; no crash does, since a disk writes one sector at a time | nothing: the slot may have held the newest head, so the anchor is damaged and nothing is signed |
//!
//! # Anchors of older programs
//!
//! They were SQLite databases, whose truth lay partly in a `-wal` file. [`Anchor::open`] converts
//! them: SQLite recovers that file and folds it in, then the new format takes the old file's name.
//! Stop anywhere: before the rename the old file is whole, after it the new one is. An old program
//! refuses the new file, because it is not a database.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};

use super::slot::{self, FILE_BYTES, PAGE_BYTES, PAGES, Slot};
use super::{Anchor, AnchorWriter, Anchored, OpenedAnchor};
use crate::store::StoreError;
use crate::store::durable::{place_new, write_durably};
use crate::store::lock::FileId;
use crate::store::sqlite::old_anchor;
use crate::tlog::TreeHead;

/// A change takes a tenth of a millisecond, so whoever holds the lock for 200 pauses is stuck.
const LOCK_TRIES: u32 = 200;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// The anchor of one log, in a file.
#[derive(Clone, Debug)]
pub struct FileAnchor {
    path: PathBuf,
}

/// The file, open for writing. The log's writer owns it.
#[derive(Debug)]
struct FileAnchorWriter {
    file: File,
    path: PathBuf,
    id: FileId,
    /// A head whose write failed: it may be in the file without being durable.
    unsynced: Option<TreeHead>,
}

impl FileAnchor {
    /// The anchor at `path`, which need not be there yet.
    pub fn at(path: impl Into<PathBuf>) -> FileAnchor {
        FileAnchor { path: path.into() }
    }

    /// Renames an anchor that cannot be used, and returns its new name.
    pub(crate) fn set_aside(&self, at: Timestamp) -> Result<PathBuf, StoreError> {
        let mark = at.strftime("%Y%m%dT%H%M%SZ");
        let named =
            |suffix: &str| PathBuf::from(format!("{}.unreadable-{mark}{suffix}", self.path.display()));
        // The side files are those of an older program's anchor.
        for suffix in ["-wal", "-shm", ""] {
            let from = PathBuf::from(format!("{}{suffix}", self.path.display()));
            if from.exists() {
                std::fs::rename(&from, named(suffix)).map_err(failed(&from))?;
            }
        }
        Ok(named(""))
    }

    /// Returns what a damaged anchor still shows: a head that was published, though perhaps not the
    /// highest.
    pub(crate) fn remains(&self) -> Option<Anchored> {
        let pages = pages(&File::open(&self.path).ok()?);
        let slots = pages.iter().flatten().filter_map(|page| Slot::from_page(page));
        slots.max_by_key(|slot| slot.sequence).map(|slot| slot.anchored)
    }

    fn open_file(&self) -> Result<Option<(FileAnchorWriter, Anchored)>, StoreError> {
        let path = &self.path;
        if old_anchor::is_old(path).map_err(failed(path))? && !convert(path)? {
            return Ok(None);
        }
        let file = match File::options().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(path)(error)),
        };
        let id = FileId::of_file(&file, path)?;
        let anchor = FileAnchorWriter { file, path: path.clone(), id, unsynced: None };
        let found = {
            let _held = anchor.hold()?;
            newest(&anchor.file, path)?
        };
        Ok(found.map(|slot| (anchor, slot.anchored)))
    }
}

impl Anchor for FileAnchor {
    fn path(&self) -> &Path {
        &self.path
    }

    fn read(&self) -> Result<Option<Anchored>, StoreError> {
        let path = &self.path;
        if old_anchor::is_old(path).map_err(failed(path))? {
            return Ok(old_anchor::read(path)?.map(|(anchored, _)| anchored));
        }
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(path)(error)),
        };
        let _held = Held::new(&file, path, FlockOperation::NonBlockingLockShared)?;
        Ok(newest(&file, path)?.map(|slot| slot.anchored))
    }

    /// Converts the anchor of an older program first.
    fn open(&self) -> Result<Option<OpenedAnchor>, StoreError> {
        let opened = self.open_file()?;
        Ok(opened.map(|(anchor, anchored)| (Box::new(anchor) as Box<dyn AnchorWriter>, anchored)))
    }

    /// A file that was never filled is replaced; an anchor is not.
    fn create(&self, anchored: &Anchored, at: Timestamp) -> Result<Box<dyn AnchorWriter>, StoreError> {
        let path = &self.path;
        let bytes = Slot { sequence: 1, anchored: anchored.clone(), at }.to_file().map_err(refused(path))?;
        match place_new(path, &bytes) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && self.open_file()?.is_none() => {
                write_durably(&real(path)?, &bytes)
            }
            placed => placed,
        }
        .map_err(failed(path))?;
        let opened = self.open()?.filter(|(_, found)| found == anchored);
        opened.map(|(anchor, _)| anchor).ok_or_else(|| {
            let expected = format!("the anchor that was just made at {}", path.display());
            StoreError::Conflict { expected, found: "another one".to_owned() }
        })
    }
}

impl AnchorWriter for FileAnchorWriter {
    fn path(&self) -> &Path {
        &self.path
    }

    fn claim(&mut self, epoch: u64, next: u64) -> Result<(), StoreError> {
        self.update(|Slot { sequence, anchored, at }| {
            if anchored.epoch != epoch {
                return Err(conflict(format!("epoch {epoch}"), &anchored));
            }
            Ok(Slot { sequence, anchored: Anchored { epoch: next, ..anchored }, at })
        })
    }

    fn advance(
        &mut self,
        epoch: u64,
        from: &TreeHead,
        to: &TreeHead,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let unsynced = self.unsynced.take();
        let moved = self.update(|Slot { sequence, anchored, .. }| {
            // The write before failed, and its bytes arrived all the same: they are written again,
            // because nobody knows whether they would stay.
            let is_tried = unsynced == Some(*to) && anchored.tree == *to;
            if anchored.epoch != epoch || !is_tried && anchored.tree != *from {
                let expected = format!("epoch {epoch} size {} root {}", from.size, from.root);
                return Err(conflict(expected, &anchored));
            }
            Ok(Slot { sequence, anchored: Anchored { tree: *to, ..anchored }, at })
        });
        if matches!(moved, Err(StoreError::Full)) {
            self.unsynced = Some(*to);
        }
        moved
    }

    fn remember_stops(&mut self, newest: u64) -> Result<(), StoreError> {
        self.update(|Slot { sequence, anchored, at }| {
            Ok(Slot { sequence, anchored: Anchored { stops: newest, ..anchored }, at })
        })
    }
}

impl FileAnchorWriter {
    /// Writes what `change` makes of the newest text, durably.
    fn update(&mut self, change: impl FnOnce(Slot) -> Result<Slot, StoreError>) -> Result<(), StoreError> {
        let _held = self.hold()?;
        let stands = newest(&self.file, &self.path)?.ok_or_else(|| self.is("its file is empty"))?;
        let next = change(stands.clone())?;
        if !next.may_follow(&stands) {
            return Err(self.is("it only moves forward"));
        }
        let next = Slot { sequence: stands.sequence + 1, ..next };
        let copies = next.to_slot().map_err(refused(&self.path))?;
        self.file.write_all_at(&copies, next.offset()).map_err(failed(&self.path))?;
        // A head is published when the anchor knows it: it must still know after a power cut.
        self.file.sync_data().map_err(failed(&self.path))
    }

    /// Takes the lock of the file, which must still be the one that was opened: what is written
    /// into a file without a name is gone with this process, and the log would not know what it
    /// published.
    fn hold(&self) -> Result<Held<'_>, StoreError> {
        let held = Held::new(&self.file, &self.path, FlockOperation::NonBlockingLockExclusive)?;
        if self.id.is_still(&self.path) {
            return Ok(held);
        }
        Err(self.is("its file was taken away or replaced while the server ran"))
    }

    fn is(&self, why: &str) -> StoreError {
        StoreError::Anchor { path: self.path.display().to_string(), why: why.to_owned() }
    }
}

/// Puts an anchor of an older program into the format of this one. False when it was never filled.
fn convert(path: &Path) -> Result<bool, StoreError> {
    // A symbolic link stays one: the file that it names is converted, on its own disk.
    let path = real(path)?;
    // Exclusive until the end of this function, and whole in one file.
    let old = old_anchor::make_whole(&path)?;
    let Some((anchored, at)) = old.row.clone() else { return Ok(false) };
    let bytes = Slot { sequence: 1, anchored, at }.to_file().map_err(refused(&path))?;
    // If we stop before the rename in here, the next start converts again.
    write_durably(&path, &bytes).map_err(failed(&path))?;
    tracing::info!(path = %path.display(), "the anchor of an older program was converted");
    Ok(true)
}

fn real(path: &Path) -> Result<PathBuf, StoreError> {
    path.canonicalize().map_err(failed(path))
}

/// The newest text in the file; `None` in an empty file.
fn newest(file: &File, path: &Path) -> Result<Option<Slot>, StoreError> {
    if file.metadata().map_err(failed(path))?.len() == 0 {
        return Ok(None);
    }
    let pages = pages(file);
    slot::newest(&pages).map(Some).map_err(|why| {
        match pages.iter().flatten().find_map(|page| slot::version(page)) {
            Some(found) if found != slot::VERSION => {
                StoreError::NewerSchema { found: found as i64, known: slot::VERSION as i64 }
            }
            _ => StoreError::Damaged { place: "the anchor".to_owned(), why },
        }
    })
}

/// The pages that can be read.
fn pages(file: &File) -> [Option<Box<[u8]>>; PAGES] {
    let mut whole = vec![0; FILE_BYTES];
    if file.read_exact_at(&mut whole, 0).is_ok() {
        return std::array::from_fn(|at| Some(whole[at * PAGE_BYTES..][..PAGE_BYTES].into()));
    }
    // A bad sector, or a file that was cut: what can be read may be enough.
    std::array::from_fn(|at| {
        let mut page = vec![0; PAGE_BYTES];
        file.read_exact_at(&mut page, (at * PAGE_BYTES) as u64).ok().map(|()| page.into())
    })
}

fn failed(path: &Path) -> impl Fn(io::Error) -> StoreError {
    move |source| match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full,
        _ => StoreError::File { path: path.display().to_string(), source },
    }
}

fn refused(path: &Path) -> impl Fn(String) -> StoreError {
    move |why| StoreError::Anchor { path: path.display().to_string(), why }
}

fn conflict(expected: String, found: &Anchored) -> StoreError {
    let found = format!("epoch {} size {} root {}", found.epoch, found.tree.size, found.tree.root);
    StoreError::Conflict { expected: format!("anchor at {expected}"), found }
}

/// The lock on an anchor's file, until it is dropped.
struct Held<'a>(&'a File);

impl<'a> Held<'a> {
    fn new(file: &'a File, path: &Path, operation: FlockOperation) -> Result<Held<'a>, StoreError> {
        for _ in 0..LOCK_TRIES {
            match flock(file, operation) {
                Ok(()) => return Ok(Held(file)),
                Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(LOCK_PAUSE),
                Err(errno) => return Err(failed(path)(errno.into())),
            }
        }
        Err(StoreError::Locked { path: path.display().to_string(), holder: None })
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // The lock ends with the file at the latest.
        let _ = flock(self.0, FlockOperation::Unlock);
    }
}
