//! A file for node_exporter's textfile collector: always whole, readable by others.

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Context;

/// Puts `text` in the place of the file. Who reads meanwhile reads the old one or the new one. Its directory must be there.
pub(super) fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // The collector reads *.prom, so not this name.
    let file = tempfile::Builder::new().prefix(".tallystick-").suffix(".tmp").tempfile_in(directory);
    let written = file.and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        // The collector is another user.
        file.as_file().set_permissions(Permissions::from_mode(0o644))?;
        file.persist(path).map(drop).map_err(|error| error.error)
    });
    written.with_context(|| {
        format!("cannot write {}\n  fix: make its directory, and let this user write to it", path.display())
    })
}
