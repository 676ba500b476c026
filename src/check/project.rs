//! The directory of a module or of a workspace: all its go.sum files, and what they say nothing
//! about.
//!
//! In a workspace that is go.work.sum and the go.sum of every member, as the `go` command reads
//! them together. A module that a `replace` line takes from a directory has no hash anywhere: it is
//! named.

use std::io;
use std::path::{Component, Path, PathBuf};

use super::go::{GoMod, GoWork, Replacement, read_json};
use super::go_sum::go_sum;
use super::{CheckVerdict, FilePlace, GatherError, Gathered};
use crate::files;

const MAX_GO_SUM_BYTES: u64 = 64 << 20;
/// Members of one workspace.
const MAX_MEMBERS: usize = 10_000;

/// Reads the go.sum files of a directory that has a go.mod, a go.work or at least a go.sum.
pub(crate) fn project(directory: &Path) -> Result<Gathered, GatherError> {
    let (work, module) = (below(directory, "go.work"), below(directory, "go.mod"));
    if exists(&work)? {
        return workspace(directory, &work);
    }
    if exists(&module)? {
        return member(directory, true);
    }
    let sums = below(directory, "go.sum");
    match read_sums(&sums)? {
        Some(gathered) => Ok(gathered),
        None => Err(GatherError::Malformed {
            path: directory.display().to_string(),
            line: None,
            why: "there is no go.work, go.mod or go.sum in this directory".to_owned(),
            fix: "name the directory of a module or of a workspace".to_owned(),
        }),
    }
}

fn workspace(directory: &Path, work: &Path) -> Result<Gathered, GatherError> {
    let parsed: GoWork = read_json(&["work", "edit", "-json", &absolute(work)?])?;
    let members = parsed.uses.unwrap_or_default();
    if members.len() > MAX_MEMBERS {
        return Err(GatherError::TooMany { what: "members of a workspace", most: MAX_MEMBERS });
    }
    let mut gathered = read_sums(&below(directory, "go.work.sum"))?.unwrap_or_default();
    gathered.replaced(work, parsed.replace.unwrap_or_default());
    for used in members {
        gathered.append(member(&below(directory, &used.disk_path), false)?);
    }
    Ok(gathered)
}

/// Reads one module. `is_alone` says that no go.work.sum has its lines.
fn member(directory: &Path, is_alone: bool) -> Result<Gathered, GatherError> {
    let path = below(directory, "go.mod");
    let parsed: GoMod = read_json(&["mod", "edit", "-json", &absolute(&path)?])?;
    let sums = read_sums(&below(directory, "go.sum"))?;
    let required = parsed.require.unwrap_or_default();
    let replaced = parsed.replace.unwrap_or_default();
    let is_local = |path: &str| {
        replaced.iter().any(|replaced| replaced.new.version.is_empty() && replaced.old.path == path)
    };
    let mut gathered = Gathered::default();
    if sums.is_none() && is_alone && required.iter().any(|module| !is_local(&module.path)) {
        let why = format!("it requires modules, and {} is missing", below(directory, "go.sum").display());
        let why = format!("{why}\n  fix: run `go mod tidy`, and commit the file");
        gathered.find(FilePlace::file(path.display().to_string()), None, CheckVerdict::NotChecked, why);
    }
    gathered.append(sums.unwrap_or_default());
    gathered.replaced(&path, replaced);
    Ok(gathered)
}

impl Gathered {
    /// Names what is taken from directories.
    fn replaced(&mut self, file: &Path, replaced: Vec<Replacement>) {
        for Replacement { old, new } in
            replaced.into_iter().filter(|replaced| replaced.new.version.is_empty())
        {
            let module = match old.version.as_str() {
                "" => old.path,
                version => format!("{}@{version}", old.path),
            };
            let why = format!("it is replaced by the directory {}: no log has a hash of that", new.path);
            self.find(FilePlace::file(file.display().to_string()), module, CheckVerdict::Unverified, why);
        }
    }
}

fn read_sums(path: &Path) -> Result<Option<Gathered>, GatherError> {
    let name = path.display().to_string();
    match files::read_regular(path, MAX_GO_SUM_BYTES) {
        Ok(bytes) => go_sum(&name, &bytes).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(GatherError::Read { path: name, source }),
    }
}

fn exists(path: &Path) -> Result<bool, GatherError> {
    path.try_exists().map_err(|source| GatherError::Read { path: path.display().to_string(), source })
}

fn absolute(path: &Path) -> Result<String, GatherError> {
    let absolute = std::path::absolute(path);
    let absolute =
        absolute.map_err(|source| GatherError::Read { path: path.display().to_string(), source })?;
    Ok(absolute.display().to_string())
}

/// The path of something below a directory, as people write it: no `./` in front of it or in it.
pub(super) fn below(directory: &Path, name: &str) -> PathBuf {
    let joined = directory.join(name);
    let plain: PathBuf = joined.components().filter(|part| !matches!(part, Component::CurDir)).collect();
    if plain.as_os_str().is_empty() { PathBuf::from(".") } else { plain }
}
