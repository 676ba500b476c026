//! One process per log: the lock that lasts as long as the process, and what the file system must be able to do.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock, statfs, statvfs};

use super::{Holder, StoreError, private};

/// Below this much free space the log turns read-only: room for the write-ahead log of a large batch, its checkpoint
/// and the logs that a full disk makes everybody write.
pub const FREE_SPACE_FLOOR_BYTES: u64 = 64 << 20;

/// What mirrors leave free on their disk: the write-ahead log, and the own log must not be stopped by its mirrors.
pub const DISK_RESERVE_BYTES: u64 = 256 << 20;

/// A holder that has just ended may have been starting a program: its copy has the lock too until it becomes that program.
/// So a lock that is taken is tried again for a fifth of a second before somebody is said to be in the way.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: std::time::Duration = std::time::Duration::from_millis(10);

/// The lock on a log's directory, released by the kernel when the process ends, however it ends.
#[derive(Debug)]
pub struct DirectoryLock(FileLock);

/// The lock on a file that is there for nothing else.
#[derive(Debug)]
pub struct FileLock {
    _file: File,
    path: PathBuf,
}

impl DirectoryLock {
    /// Takes the lock of `directory` or says at once who is in the way. What others could open of the state in it is private
    /// afterwards.
    pub fn acquire(directory: &Path) -> Result<DirectoryLock, StoreError> {
        let lock = FileLock::acquire(&directory.join("lock")).map(DirectoryLock)?;
        private::tighten(directory);
        Ok(lock)
    }

    /// The lock file.
    pub fn path(&self) -> &Path {
        &self.0.path
    }
}

impl FileLock {
    /// Takes the lock or says at once that somebody has it. The file is made where there is none.
    pub fn acquire(path: &Path) -> Result<FileLock, StoreError> {
        let file = private::options()
            .open(path)
            .map_err(|source| StoreError::File { path: path.display().to_string(), source })?;
        for tries_left in (0..LOCK_TRIES).rev() {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(FileLock { _file: file, path: path.to_owned() }),
                Err(rustix::io::Errno::WOULDBLOCK) if tries_left > 0 => std::thread::sleep(LOCK_PAUSE),
                Err(rustix::io::Errno::WOULDBLOCK) => break,
                Err(errno) => {
                    return Err(StoreError::File { path: path.display().to_string(), source: errno.into() });
                }
            }
        }
        Err(StoreError::Locked { path: path.display().to_string(), holder: Holder::of(&[path]) })
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

    /// Whether it is still there: moved away, deleted or replaced it lives on only as long as it is open.
    pub(super) fn is_still(self, path: &Path) -> bool {
        FileId::of(path).is_ok_and(|found| found == self)
    }
}

/// Refuses directories on network file systems: SQLite's locks and the kernel's fsync promise nothing there.
pub fn refuse_network_file_system(directory: &Path) -> Result<(), StoreError> {
    // Magic numbers of linux/magic.h. FUSE is let through: what it promises depends on what is behind it.
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
pub fn free_bytes(path: &Path) -> Result<u64, StoreError> {
    let found = statvfs(path)
        .map_err(|errno| StoreError::File { path: path.display().to_string(), source: errno.into() })?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}
