//! `--env`: settings of the `go` command with which it bypasses the log.

use super::settings::gosumdb;
use crate::check::{CheckVerdict, FilePlace, Finding};
use crate::cli::bypass;
use crate::config::GoEnvironment;
use crate::note::VerifierKey;

/// What stands in the place of a file.
const ENVIRONMENT: &str = "go env";

/// A finding for each such setting. `key` is that of the log that builds should ask.
pub(super) fn findings(go: &GoEnvironment, key: Option<&VerifierKey>) -> Vec<Finding> {
    let mut said = bypass::warnings(go);
    said.extend(bypass::ways_around(go));
    if let (Some(key), Some(setting)) = (key, go.var("GOSUMDB"))
        && setting.value != "off"
        && !matches!(gosumdb(&setting.value), Ok(Some(known)) if known.key == *key)
    {
        said.push(format!(
            "GOSUMDB names another log than the one that is checked here, {}: the go command asks that one.",
            key.name()
        ));
    }
    if let Some(why) = &go.failure {
        said.push(format!("The settings that `go env -w` has kept are not known here: {why}."));
    }
    let finding = |why| Finding {
        place: FilePlace::file(ENVIRONMENT),
        module: None,
        verdict: CheckVerdict::NotChecked,
        why,
    };
    said.into_iter().map(finding).collect()
}
