//! One go.sum or go.work.sum file.

use super::{CheckVerdict, FilePlace, GatherError, Gathered};
use crate::gosum::{GoSumError, GoSumLine, NumberedLine, OddLine, Oddity, parse_go_sum};

/// Lines of one file: those of the largest repositories have some ten thousand.
const MAX_LINES: usize = 2_000_000;

/// Reads the lines of a go.sum file that is called `name`.
pub(crate) fn go_sum(name: &str, bytes: &[u8]) -> Result<Gathered, GatherError> {
    let file = parse_go_sum(bytes).map_err(|GoSumError { line, reason }| GatherError::Malformed {
        path: name.to_owned(),
        line: Some(line),
        why: reason.to_string(),
        fix: reason.fix().to_owned(),
    })?;
    if file.lines.len() + file.odd.len() > MAX_LINES {
        return Err(GatherError::TooMany { what: "lines of a go.sum file", most: MAX_LINES });
    }
    let mut gathered = Gathered::default();
    if let Some(line) = file.crlf {
        gathered
            .notes
            .push(format!("{name}:{line}: its lines end in CR LF, which go reads; `go mod tidy` writes LF"));
    }
    for NumberedLine { number, line: GoSumLine { module, kind, hash } } in file.lines {
        gathered.claim(FilePlace::line(name, number), &module, kind, hash);
    }
    for OddLine { number, oddity } in file.odd {
        let (module, verdict) = match &oddity {
            // The go command compares such a line, and no download ever has its hash.
            Oddity::BadHash { module, .. } => (Some(module.to_string()), CheckVerdict::Differs),
            Oddity::UnknownHash { .. } | Oddity::EmptyGoMod | Oddity::NoModule(_) | Oddity::ByteOrderMark => {
                (None, CheckVerdict::Unverified)
            }
        };
        gathered.find(FilePlace::line(name, number), module, verdict, oddity.to_string());
    }
    Ok(gathered)
}
