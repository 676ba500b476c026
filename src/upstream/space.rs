//! What all scratch of a process may take from its disk: spooled bodies and the scratch directories
//! of version control.
//!
//! Scratch lies in the data directory by default, on the disk of the log. The log turns read-only
//! when that disk gets full, so scratch must end first: it keeps the [same
//! reserve](DISK_RESERVE_BYTES) free as mirrors do, wherever the disk holds state too, and all of
//! it together has one limit.
//!
//! ```text
//! free   |<------ what scratch may take ------>|<- reserve: 256 MiB, mirrors keep it too ->|
//!                                              |        |<- floor: 64 MiB, below it the log is read-only ->|
//! ```
//!
//! Bytes are taken before they are written. Where there are none left, whoever wants them waits a
//! moment if others hold some, and is refused then, with the disk and the remedy.

use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::store::lock::{DISK_RESERVE_BYTES, free_bytes};

/// All scratch together: two runs of version control at their limit, or eight of the largest
/// modules.
const MAX_BYTES: u64 = 4 << 30;
/// How long others may take to give some back.
const PATIENCE: Duration = Duration::from_secs(2);

/// A directory for scratch, and what may be in it. Clones share the limit.
#[derive(Clone, Debug)]
pub struct ScratchSpace(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    directory: PathBuf,
    max_bytes: u64,
    /// What stays free on the disk.
    reserve_bytes: u64,
    patience: Duration,
    taken: Mutex<u64>,
    given_back: Condvar,
}

/// Scratch has no space left.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSpace {
    /// The disk.
    #[error(
        "the disk of {} has {free_bytes} bytes free, and scratch leaves {reserve_bytes} to the log\n  fix: free some space there, or mount another disk at {}",
        directory.display(), directory.display()
    )]
    Disk {
        /// The directory for scratch.
        directory: PathBuf,
        /// Bytes that are free.
        free_bytes: u64,
        /// Bytes that stay free.
        reserve_bytes: u64,
    },
    /// The limit of all scratch together.
    #[error(
        "all scratch in {} together would take more than {max_bytes} bytes\n  fix: nothing where many large modules are fetched at once, it passes; else lower `limits.zip_bytes`",
        directory.display()
    )]
    Limit {
        /// The directory for scratch.
        directory: PathBuf,
        /// The limit.
        max_bytes: u64,
    },
}

/// Bytes of scratch that one user has taken. Dropping it gives them back.
pub(super) struct Share {
    space: ScratchSpace,
    bytes: u64,
}

impl ScratchSpace {
    /// Scratch in `directory`, which must be there. `state` are the directories of what has to go
    /// on when scratch is full: where they are on the same disk, it keeps a reserve.
    pub fn new(directory: PathBuf, state: &[&Path]) -> ScratchSpace {
        let device = |path: &Path| std::fs::metadata(path).map(|found| found.dev()).ok();
        // Errors name it, and a person must find it.
        let directory = directory.canonicalize().unwrap_or(directory);
        let own = device(&directory);
        let is_shared =
            state.iter().any(|path| device(path).is_none_or(|other| own.is_none_or(|own| own == other)));
        let reserve_bytes = if is_shared { DISK_RESERVE_BYTES } else { 0 };
        ScratchSpace::with(directory, MAX_BYTES, reserve_bytes, PATIENCE)
    }

    fn with(directory: PathBuf, max_bytes: u64, reserve_bytes: u64, patience: Duration) -> ScratchSpace {
        let (taken, given_back) = (Mutex::new(0), Condvar::new());
        ScratchSpace(Arc::new(Inner { directory, max_bytes, reserve_bytes, patience, taken, given_back }))
    }

    /// The directory.
    pub(super) fn directory(&self) -> &Path {
        &self.0.directory
    }

    /// A share of nothing yet.
    pub(super) fn share(&self) -> Share {
        Share { space: self.clone(), bytes: 0 }
    }

    /// Whether so many bytes more are too many now. Takes nothing.
    pub(super) fn check(&self, bytes: u64) -> Result<(), NoSpace> {
        self.0.check(*self.0.taken(), bytes)
    }
}

impl From<PathBuf> for ScratchSpace {
    /// Scratch on a disk that holds nothing else.
    fn from(directory: PathBuf) -> ScratchSpace {
        ScratchSpace::new(directory, &[])
    }
}

impl Inner {
    fn taken(&self) -> MutexGuard<'_, u64> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, taken: u64, bytes: u64) -> Result<(), NoSpace> {
        let directory = || self.directory.clone();
        if taken.saturating_add(bytes) > self.max_bytes {
            return Err(NoSpace::Limit { directory: directory(), max_bytes: self.max_bytes });
        }
        // A disk that cannot be asked says so when it is written to.
        let Ok(free_bytes) = free_bytes(&self.directory) else { return Ok(()) };
        let reserve_bytes = self.reserve_bytes;
        if reserve_bytes > 0 && free_bytes < reserve_bytes.saturating_add(bytes) {
            return Err(NoSpace::Disk { directory: directory(), free_bytes, reserve_bytes });
        }
        Ok(())
    }
}

impl Share {
    /// Takes more bytes, before they are written. Waits a moment when others hold what is missing.
    /// Blocks.
    pub(super) fn take(&mut self, bytes: u64) -> Result<(), NoSpace> {
        let inner = &*self.space.0;
        let mut refusal = Ok(());
        // Whoever waits lets the mutex go; only what others hold can be given back.
        let is_short = |taken: &mut u64| {
            refusal = inner.check(*taken, bytes);
            refusal.is_err() && *taken > self.bytes
        };
        let waited = inner.given_back.wait_timeout_while(inner.taken(), inner.patience, is_short);
        let (mut taken, _) = waited.unwrap_or_else(PoisonError::into_inner);
        refusal?;
        *taken += bytes;
        self.bytes += bytes;
        Ok(())
    }

    /// Says how many bytes are there now, where somebody else writes them. An error means that they
    /// are too many: they are counted all the same.
    pub(super) fn hold(&mut self, bytes: u64) -> Result<(), NoSpace> {
        let inner = &*self.space.0;
        let mut taken = inner.taken();
        *taken = *taken - self.bytes + bytes;
        if bytes < self.bytes {
            inner.given_back.notify_all();
        }
        self.bytes = bytes;
        inner.check(*taken, 0)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        *self.space.0.taken() -= self.bytes;
        self.space.0.given_back.notify_all();
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Share").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limited(max_bytes: u64, reserve_bytes: u64, patience: Duration) -> (tempfile::TempDir, ScratchSpace) {
        let directory = tempfile::tempdir().unwrap();
        let space = ScratchSpace::with(directory.path().to_owned(), max_bytes, reserve_bytes, patience);
        (directory, space)
    }

    #[test]
    fn shares_have_one_limit_and_give_back() {
        let (_directory, space) = limited(100, 0, Duration::ZERO);
        let (mut one, mut two) = (space.share(), space.share());
        one.take(60).unwrap();
        assert!(matches!(two.take(41), Err(NoSpace::Limit { max_bytes: 100, .. })));
        two.take(40).unwrap();
        assert!(space.check(1).is_err());
        drop(one);
        two.take(60).unwrap();
        two.hold(10).unwrap();
        space.check(90).unwrap();
        assert!(two.hold(101).is_err());
        assert!(space.check(0).is_err(), "what is there is counted");
        drop(two);
        space.check(100).unwrap();
    }

    #[test]
    fn who_finds_nothing_left_waits_for_others_and_not_for_itself() {
        let (_directory, space) = limited(100, 0, Duration::from_secs(600));
        let (mut one, mut two) = (space.share(), space.share());
        one.take(100).unwrap();
        assert!(one.take(1).is_err(), "nobody else has anything to give back");
        let waits = std::thread::spawn(move || two.take(50));
        // Whichever comes first: the other gets it.
        drop(one);
        waits.join().unwrap().unwrap();
    }

    #[test]
    fn a_disk_with_state_on_it_keeps_its_reserve() {
        let (directory, space) = limited(u64::MAX, u64::MAX, Duration::ZERO);
        let refused = space.share().take(1).unwrap_err();
        assert!(matches!(refused, NoSpace::Disk { reserve_bytes: u64::MAX, .. }), "{refused}");
        assert!(refused.to_string().contains(&directory.path().display().to_string()), "{refused}");
        let path = directory.path();
        assert_eq!(ScratchSpace::new(path.to_owned(), &[path]).0.reserve_bytes, DISK_RESERVE_BYTES);
        assert_eq!(ScratchSpace::new(path.to_owned(), &[Path::new("/proc")]).0.reserve_bytes, 0);
        assert_eq!(ScratchSpace::from(path.to_owned()).0.reserve_bytes, 0);
    }
}
