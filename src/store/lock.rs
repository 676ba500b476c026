//! One process per log: the lock that lasts as long as the process, and what the file system must
//! be able to do.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock, statfs, statvfs};

use super::{Holder, StoreError, private};

/// Below this much free space the log turns read-only: room for the write-ahead log of a large
/// batch, its checkpoint and the logs that a full disk makes everybody write.
pub const FREE_SPACE_FLOOR_BYTES: u64 = 64 << 20;

/// What mirrors leave free on their disk: the write-ahead log, and the own log must not be stopped
/// by its mirrors.
pub const DISK_RESERVE_BYTES: u64 = 256 << 20;

/// What opening databases takes: their first pages, write-ahead logs and shared memory files.
const OPENING_BYTES: u64 = 1 << 20;

/// A process that was killed while it started a program leaves the lock to the child until the
/// child runs that program. So a taken lock is tried again for a fifth of a second.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: std::time::Duration = std::time::Duration::from_millis(10);

/// The lock on a log's directory, released by the kernel when the process ends, however it ends.
#[derive(Debug)]
pub struct DirectoryLock {
    _held: Exclusive,
}

/// An exclusive `flock` on an open file, released when it is dropped.
///
/// Closing the file would not do: a child that is being started at that moment has a copy of the
/// descriptor, and the lock with it, until it runs its program.
#[derive(Debug)]
pub(crate) struct Exclusive(File);

impl Exclusive {
    /// Takes the lock on a file that is there for nothing else, or says at once who has it. The
    /// file is made where there is none.
    pub(crate) fn acquire(path: &Path) -> Result<Exclusive, StoreError> {
        let failed = |source| StoreError::File { path: path.display().to_string(), source };
        let mut file = private::options().open(path).map_err(failed)?;
        for tries_left in (0..LOCK_TRIES).rev() {
            file = match Exclusive::try_of(file).map_err(failed)? {
                Ok(held) => return Ok(held),
                Err(file) => file,
            };
            if tries_left > 0 {
                std::thread::sleep(LOCK_PAUSE);
            }
        }
        Err(StoreError::Locked { path: path.display().to_string(), holder: Holder::of(&[path]) })
    }

    /// Takes the lock, or gives the file back if another process has it.
    pub(crate) fn try_of(file: File) -> io::Result<Result<Exclusive, File>> {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Ok(Exclusive(file))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(Err(file)),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl Drop for Exclusive {
    fn drop(&mut self) {
        // If this fails, the lock ends with the last copy of the descriptor.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

impl DirectoryLock {
    /// Takes the lock of `directory` or says at once who is in the way. What others could open of
    /// the state in it is private afterwards.
    pub fn acquire(directory: &Path) -> Result<DirectoryLock, StoreError> {
        let held = Exclusive::acquire(&directory.join("lock"))?;
        private::tighten(directory);
        Ok(DirectoryLock { _held: held })
    }
}

/// Which file a path named when it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// The file that is at `path` now.
    pub(super) fn of(path: &Path) -> Result<FileId, StoreError> {
        let found = std::fs::metadata(path)
            .map_err(|source| StoreError::File { path: path.display().to_string(), source })?;
        Ok(FileId { device: found.dev(), inode: found.ino() })
    }

    /// The file that is open.
    pub(super) fn of_file(file: &File, path: &Path) -> Result<FileId, StoreError> {
        let found = file
            .metadata()
            .map_err(|source| StoreError::File { path: path.display().to_string(), source })?;
        Ok(FileId { device: found.dev(), inode: found.ino() })
    }

    /// Whether it is still there: moved away, deleted or replaced it lives on only as long as it is
    /// open.
    pub(super) fn is_still(self, path: &Path) -> bool {
        FileId::of(path).is_ok_and(|found| found == self)
    }
}

/// Refuses directories on network file systems: SQLite's locks and the kernel's fsync promise
/// nothing there.
pub(crate) fn refuse_network_file_system(directory: &Path) -> Result<(), StoreError> {
    // Magic numbers of linux/magic.h. FUSE is let through: what it promises depends on what is
    // behind it.
    const NETWORK: [(u64, &str); 8] = [
        (0x6969, "NFS"),
        (0x517b, "SMB"),
        (0xff53_4d42, "CIFS"),
        (0xfe53_4d42, "SMB2"),
        (0x0102_1997, "9P"),
        (0x00c3_6400, "Ceph"),
        (0x5346_414f, "AFS"),
        (0x0bd0_0bd0, "Lustre"),
    ];
    let found = statfs(directory)
        .map_err(|errno| StoreError::File { path: directory.display().to_string(), source: errno.into() })?;
    let magic = u64::from(found.f_type as u32);
    match NETWORK.iter().find(|(number, _)| *number == magic) {
        Some((_, kind)) => Err(StoreError::NetworkFileSystem { path: directory.display().to_string(), kind }),
        None => Ok(()),
    }
}

/// Free bytes, for this user, on the disk that holds `path`.
pub(crate) fn free_bytes(path: &Path) -> Result<u64, StoreError> {
    let found = statvfs(path)
        .map_err(|errno| StoreError::File { path: path.display().to_string(), source: errno.into() })?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// Says that a disk is full where that may be the cause: without any space a database engine fails
/// in many ways, most of which do not say so.
pub(crate) fn or_full(error: StoreError, disks: &[PathBuf]) -> StoreError {
    let no_space = |disk: &PathBuf| free_bytes(disk).is_ok_and(|free| free < OPENING_BYTES);
    match error {
        StoreError::Database { .. } if disks.iter().any(no_space) => StoreError::Full,
        error => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_ends_although_a_copy_of_its_descriptor_lives_on() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let lock = Exclusive::acquire(&path).unwrap();
        // What a child has between its fork and its exec.
        let copy = lock.0.try_clone().unwrap();
        assert!(matches!(Exclusive::acquire(&path), Err(StoreError::Locked { .. })));
        drop(lock);
        Exclusive::acquire(&path).unwrap();
        drop(copy);
    }
}
