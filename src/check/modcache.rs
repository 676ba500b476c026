//! The downloads in a module cache, each hashed again.
//!
//! ```text
//! $GOMODCACHE/cache/download/rsc.io/quote/@v/v1.5.2.zip
//! $GOMODCACHE/cache/download/rsc.io/quote/@v/v1.5.2.mod
//! ```
//!
//! The `.ziphash` files beside them are not read: whoever can change a zip can change those. What
//! lies unpacked outside of `cache/download` is what `go mod verify` compares.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::{CheckVerdict, FilePlace, GatherError, Gathered};
use crate::dirhash::{ReadAt, ZipLimits, hash_go_mod, hash_zip};
use crate::files;
use crate::gosum::LineKind;
use crate::module::ModuleVersion;

/// Files and directories that are looked at.
const MAX_ENTRIES: usize = 4_000_000;
/// Directories below each other: a module path has fewer elements.
const MAX_DEPTH: usize = 512;

/// Hashes the zips and go.mod files of a module cache. `progress` is told how many of how many are
/// hashed.
pub(crate) fn module_cache(root: &Path, progress: impl Fn(u64, u64)) -> Result<Gathered, GatherError> {
    let download = root.join("cache/download");
    let unreadable = |path: &Path, source| GatherError::Read { path: path.display().to_string(), source };
    let canonical = download.canonicalize().map_err(|source| unreadable(&download, source))?;
    let mut found = Vec::new();
    let mut waiting = vec![(download.clone(), 0)];
    let mut entries = 0;
    while let Some((directory, depth)) = waiting.pop() {
        for entry in fs::read_dir(&directory).map_err(|source| unreadable(&directory, source))? {
            let entry = entry.map_err(|source| unreadable(&directory, source))?;
            entries += 1;
            if entries > MAX_ENTRIES || depth > MAX_DEPTH {
                return Err(GatherError::TooMany { what: "files of a module cache", most: MAX_ENTRIES });
            }
            let path = entry.path();
            let kind = entry.file_type().map_err(|source| unreadable(&path, source))?;
            // Look-ups and tiles that the go command keeps.
            let is_sumdb = depth == 0 && entry.file_name() == "sumdb";
            if kind.is_dir() && !is_sumdb {
                waiting.push((path, depth + 1));
            } else if directory.ends_with("@v") && kind_of(&path).is_some() {
                found.push(path);
            }
        }
    }
    found.sort_unstable();
    let mut gathered = Gathered::default();
    let total = found.len() as u64;
    for (done, path) in found.iter().enumerate() {
        hash(&mut gathered, &download, &canonical, path);
        progress(done as u64 + 1, total);
    }
    Ok(gathered)
}

fn kind_of(path: &Path) -> Option<LineKind> {
    match path.extension()?.to_str()? {
        "zip" => Some(LineKind::Zip),
        "mod" => Some(LineKind::GoMod),
        _ => None,
    }
}

fn hash(gathered: &mut Gathered, download: &Path, canonical: &Path, path: &Path) {
    let place = FilePlace::file(path.display().to_string());
    let (Some(kind), Some(module)) = (kind_of(path), module_of(download, path)) else {
        let why = "its name is not that of a module version".to_owned();
        return gathered.find(place, None, CheckVerdict::Unverified, why);
    };
    let hashed =
        files::open_found(canonical, path).map_err(|error| error.to_string()).and_then(|file| match kind {
            LineKind::Zip => hash_zip(&OpenFile(file), &module, &ZipLimits::default())
                .map(|zip| zip.h1)
                .map_err(|error| error.to_string()),
            LineKind::GoMod => files::read(file, ZipLimits::MAX_GO_MOD_BYTES)
                .map(|go_mod| hash_go_mod(&go_mod))
                .map_err(|error| error.to_string()),
        });
    match hashed {
        Ok(hash) => gathered.claim(place, &module, kind, hash),
        Err(why) => {
            let why = format!("it cannot be hashed: {why}\n  fix: remove it; `go` downloads it again");
            gathered.find(place, module.to_string(), CheckVerdict::NotChecked, why);
        }
    }
}

/// `<download>/rsc.io/quote/@v/v1.5.2.zip` is rsc.io/quote@v1.5.2.
fn module_of(download: &Path, path: &Path) -> Option<ModuleVersion> {
    let relative: PathBuf = path.strip_prefix(download).ok()?.with_extension("");
    let (module, version) = relative.to_str()?.split_once("/@v/")?;
    ModuleVersion::unescape(&format!("{module}@{version}")).ok()
}

/// A zip on the disk.
pub(super) struct OpenFile(pub(super) File);

impl ReadAt for OpenFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(&self.0, buffer, offset)
    }
}
