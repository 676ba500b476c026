//! Files that are whole after a power cut.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt as _, fchown};
use std::path::Path;

/// Puts `bytes` in the place of a file, readable by its owner only. After a power cut it is the old
/// one or the new one.
///
/// The new file belongs to whom the old one belonged: a command that root runs does not lock the
/// service out.
pub(crate) fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = written(path, bytes)?;
    if let Ok(before) = std::fs::metadata(path) {
        let made = file.as_file().metadata()?;
        if (made.uid(), made.gid()) != (before.uid(), before.gid()) {
            fchown(file.as_file(), Some(before.uid()), Some(before.gid()))?;
        }
    }
    file.persist(path).map_err(|error| error.error)?;
    sync_name(path)
}

/// Makes a file of `bytes`, readable by its owner only; an error where there is one. After a power
/// cut it is whole or not there.
pub(crate) fn place_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    written(path, bytes)?.persist_noclobber(path).map_err(|error| error.error)?;
    sync_name(path)
}

/// A synced file under another name in the same directory.
fn written(path: &Path, bytes: &[u8]) -> io::Result<tempfile::NamedTempFile> {
    let mut file = tempfile::NamedTempFile::new_in(directory_of(path))?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// After this a power cut cannot take away the name of a file that was made.
pub(crate) fn sync_name(path: &Path) -> io::Result<()> {
    File::open(directory_of(path))?.sync_all()
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
