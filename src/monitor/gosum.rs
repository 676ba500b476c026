//! The go.sum lines that a log's records are compared with.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

use super::MonitorError;
use crate::config::Followed;
use crate::dirhash::H1;
use crate::files;
use crate::gosum::{GoSumFile, GoSumLine, LineKind, ModuleLines, NumberedLine, OddLine, parse_go_sum};
use crate::module::ModuleVersion;

/// The largest go.sum file. Those of the largest repositories have a few MB.
const MAX_FILE_BYTES: u64 = 64 << 20;
/// Odd lines of a file that are logged.
const MAX_ODD_SAID: usize = 20;

/// The go.sum lines that records must agree with.
pub(super) struct Gosum {
    /// By module version; true for the go.mod alone.
    pub(super) lines: HashMap<(ModuleVersion, bool), H1>,
    /// What is looked up, sorted.
    pub(super) asked: Vec<ModuleVersion>,
    /// Of these and their lines.
    pub(super) digest: String,
}

impl Gosum {
    /// The lines of the files, whose names are as short as [`crate::gosum`] says.
    pub(super) fn read(followed: &Followed) -> Result<Gosum, MonitorError> {
        let mut lines = HashMap::new();
        for path in &*followed.gosum {
            let keyed = |NumberedLine { line, .. }| {
                let GoSumLine { module, kind, hash } = line;
                ((module, matches!(kind, LineKind::GoMod)), hash)
            };
            lines.extend(parse(path)?.lines.into_iter().map(keyed));
        }
        let is_asked =
            |module: &&ModuleVersion| *followed.lookup && followed.may_be_told(module.path.as_str());
        let modules = lines.keys().map(|(module, _)| module).filter(is_asked);
        let asked = modules.collect::<BTreeSet<_>>().into_iter().cloned().collect();
        let mut gosum = Gosum { lines, asked, digest: String::new() };
        let mut hash = Sha256::new();
        gosum.asked.iter().for_each(|module| hash.update(gosum.known(module)));
        gosum.digest = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(gosum)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Whether a record says something else than the files.
    pub(super) fn differs(&self, lines: &ModuleLines) -> bool {
        let other = |is_mod: bool, hash: H1| {
            self.lines.get(&(lines.module.clone(), is_mod)).is_some_and(|known| *known != hash)
        };
        other(false, lines.zip) || other(true, lines.go_mod)
    }

    /// The lines of a module version in the files.
    pub(super) fn known(&self, module: &ModuleVersion) -> String {
        let line = |is_mod: bool, suffix: &str| {
            let hash = self.lines.get(&(module.clone(), is_mod))?;
            Some(format!("{} {}{suffix} {hash}\n", module.path, module.version))
        };
        line(false, "").unwrap_or_default() + &line(true, "/go.mod").unwrap_or_default()
    }
}

fn parse(path: &Path) -> Result<GoSumFile, MonitorError> {
    let io = |source| MonitorError::Io { path: path.to_owned(), source };
    // It is read again and again, so a pipe would be waited for.
    let bytes = files::read_regular(path, MAX_FILE_BYTES).map_err(io)?;
    let file = parse_go_sum(bytes);
    let file = file.map_err(|error| MonitorError::Gosum { path: path.to_owned(), why: error.to_string() })?;
    if is_new(path, &file.odd) {
        for OddLine { number, oddity } in file.odd.iter().take(MAX_ODD_SAID) {
            tracing::warn!(file = %path.display(), line = number, "a go.sum line is not compared: {oddity}");
        }
    }
    Ok(file)
}

/// Whether these odd lines were not told of before. The files are read at every poll.
fn is_new(path: &Path, odd: &[OddLine]) -> bool {
    static SAID: Mutex<BTreeMap<PathBuf, usize>> = Mutex::new(BTreeMap::new());
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    said.insert(path.to_owned(), odd.len()).unwrap_or_default() != odd.len()
}
