//! Files that are whole after a power cut.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// Puts `bytes` in the place of a file, readable by its owner only. After a power cut it is the old one or the new one.
pub fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(directory_of(path))?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    sync_name(path)
}

/// After this a power cut cannot take away the name of a file that was made.
pub fn sync_name(path: &Path) -> io::Result<()> {
    File::open(directory_of(path))?.sync_all()
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
