//! What `go mod download -json` prints: an object for each module version, one after the other.
//!
//! ```text
//! {"Path": "rsc.io/quote", "Version": "v1.5.2", "Zip": "…", "Sum": "h1:w5fc…", "GoModSum": "h1:LzX7…"}
//! ```
//!
//! The hashes are of the files as `go` has just read them from the module cache, whatever go.sum
//! says.

use serde::Deserialize;
use serde_json::Deserializer;

use super::{CheckVerdict, FilePlace, GatherError, Gathered};
use crate::gosum::LineKind;
use crate::module::ModuleVersion;

/// Objects of one stream.
const MAX_DOWNLOADS: usize = 200_000;

/// One object of the stream.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct DownloadedModule {
    pub(super) path: String,
    pub(super) version: String,
    pub(super) error: String,
    pub(super) zip: String,
    sum: String,
    go_mod_sum: String,
}

/// Parses the stream.
pub(super) fn parse(name: &str, bytes: &[u8]) -> Result<Vec<DownloadedModule>, GatherError> {
    let mut downloads = Vec::new();
    for download in Deserializer::from_slice(bytes).into_iter::<DownloadedModule>() {
        downloads.push(download.map_err(|error| GatherError::Malformed {
            path: name.to_owned(),
            line: Some(error.line()).filter(|line| *line > 0),
            why: format!("it is not what `go mod download -json` prints: {error}"),
            fix: "pipe the command's output as it is, or the lines of a go.sum file".to_owned(),
        })?);
        if downloads.len() > MAX_DOWNLOADS {
            return Err(GatherError::TooMany { what: "downloads", most: MAX_DOWNLOADS });
        }
    }
    Ok(downloads)
}

/// Reads the stream's claims.
pub(crate) fn downloads(name: &str, bytes: &[u8]) -> Result<Gathered, GatherError> {
    let mut gathered = Gathered::default();
    for DownloadedModule { path, version, error, sum, go_mod_sum, .. } in parse(name, bytes)? {
        let place = FilePlace::file(name);
        let shown = format!("{path}@{version}");
        if !error.is_empty() {
            let why = format!("go could not download it: {}", error.trim());
            gathered.find(place, shown, CheckVerdict::NotChecked, why);
            continue;
        }
        let module = match ModuleVersion::from_parts(&path, &version) {
            Ok(module) => module,
            Err(error) => {
                gathered.find(place, shown, CheckVerdict::NotChecked, error.to_string());
                continue;
            }
        };
        for (kind, hash) in [(LineKind::Zip, &sum), (LineKind::GoMod, &go_mod_sum)] {
            match hash.parse() {
                Ok(hash) => gathered.claim(place.clone(), &module, kind, hash),
                // With -reuse, or for a module of the main workspace, there is none.
                Err(_) if hash.is_empty() => {
                    let why = format!("go told no hash of its {}", kind.as_str());
                    gathered.find(place.clone(), shown.clone(), CheckVerdict::Unverified, why);
                }
                Err(error) => {
                    gathered.find(place.clone(), shown.clone(), CheckVerdict::NotChecked, error.to_string());
                }
            }
        }
    }
    Ok(gathered)
}
