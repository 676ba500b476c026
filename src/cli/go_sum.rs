//! go.sum files that are named on a command line: one way to read them, and to say what is wrong
//! with them.

use std::path::Path;

use anyhow::{Context, anyhow};

use super::exit::{Exit, OrExit};
use super::output;
use crate::files;
use crate::gosum::{GoSumError, GoSumFile, OddLine, parse_go_sum};

/// The largest go.sum file. Those of the largest repositories have a few MB.
pub(super) const MAX_GO_SUM_BYTES: u64 = 64 << 20;
/// Odd lines that are named one by one; a file of which more are odd is told in a count.
const MAX_ODD_SAID: usize = 20;

/// Reads a go.sum file. The error names the file, the line and the fix.
pub(super) fn read(path: &Path) -> anyhow::Result<GoSumFile> {
    let name = path.display().to_string();
    let bytes = files::read_named(path, MAX_GO_SUM_BYTES).with_context(|| format!("cannot read {name}"));
    let bytes = bytes.or_exit(Exit::Usage)?;
    parse(&name, &bytes)
}

/// Parses the bytes of a go.sum file of this name.
pub(super) fn parse(name: &str, bytes: &[u8]) -> anyhow::Result<GoSumFile> {
    let refused =
        |GoSumError { line, reason }: GoSumError| anyhow!("{name}:{line}: {reason}\n  fix: {}", reason.fix());
    parse_go_sum(bytes).map_err(refused).or_exit(Exit::Usage)
}

/// Says which lines vouch for nothing, so that nobody believes that they were verified.
pub(super) fn say_odd(name: &str, GoSumFile { odd, crlf, .. }: &GoSumFile) {
    if let Some(line) = crlf {
        output::note(&format!(
            "{name}:{line}: its lines end in CR LF, which go reads; `go mod tidy` writes LF"
        ));
    }
    for OddLine { number, oddity } in odd.iter().take(MAX_ODD_SAID) {
        output::warning(&format!("{name}:{number}: {oddity}"));
    }
    if odd.len() > MAX_ODD_SAID {
        output::warning(&format!("{name}: {} more lines are like these", odd.len() - MAX_ODD_SAID));
    }
}
