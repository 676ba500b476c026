//! The configuration file as it is written: TOML, each value with its place. No defaults and no
//! meaning here.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::problem::{ConfigError, Problem, ProblemKind};
use super::reference::{self, Reference};
use super::said::SettingOrigin;

/// At most this many near matches are offered for an unknown key.
const MAX_NEAR: usize = 3;

/// The text of the file, to turn places into line numbers.
#[derive(Debug, Default)]
pub(super) struct FileText {
    pub(super) path: PathBuf,
    text: String,
}

impl FileText {
    /// The origin of what stands at `span`.
    pub(super) fn origin(&self, span: Range<usize>) -> SettingOrigin {
        let before = self.text.as_bytes().iter().take(span.start);
        SettingOrigin::File {
            file: self.path.clone(),
            line: 1 + before.filter(|byte| **byte == b'\n').count(),
        }
    }

    /// The directory that relative paths of the file start from.
    pub(super) fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// The lines, whether or not they are TOML.
    pub(super) fn lines(&self) -> impl Iterator<Item = &str> {
        self.text.lines()
    }

    fn problem(&self, span: Range<usize>, kind: ProblemKind) -> Problem {
        Problem { place: self.origin(span), kind }
    }
}

/// Reads the file.
pub(super) fn read(path: &Path, reference: &Reference) -> Result<FileText, ConfigError> {
    let mut file = FileText { path: path.to_owned(), text: String::new() };
    let unreadable = |source| Problem {
        place: SettingOrigin::File { file: path.to_owned(), line: 1 },
        kind: ProblemKind::Unreadable { source },
    };
    let handle = File::open(path).map_err(unreadable)?;
    handle.take(reference.max_file_bytes + 1).read_to_string(&mut file.text).map_err(unreadable)?;
    if file.text.len() as u64 > reference.max_file_bytes {
        let kind = ProblemKind::TooLarge { limit_bytes: reference.max_file_bytes };
        return Err(file.problem(0..0, kind).into());
    }
    Ok(file)
}

/// Parses the file. All unknown keys are reported together, since they are the usual mistake.
pub(super) fn parse<'f>(file: &'f FileText, reference: &Reference) -> Result<DeTable<'f>, ConfigError> {
    let syntax = |error: toml::de::Error| {
        file.problem(error.span().unwrap_or(0..0), ProblemKind::Syntax { why: one_line(error.message()) })
    };
    let table = DeTable::parse(&file.text).map_err(syntax)?.into_inner();
    let mut unknown = Vec::new();
    Unknown { file, reference, found: &mut unknown }.find(&table, "", "");
    if unknown.is_empty() { Ok(table) } else { Err(ConfigError::of(unknown)) }
}

/// Returns the data directory that a file names, whatever else is wrong with it; none where nobody
/// can tell.
pub(super) fn data_of(path: &Path, reference: &Reference) -> Option<PathBuf> {
    let text = read(path, reference).ok()?;
    let table = toml::from_str::<toml::Table>(&text.text).ok()?;
    let data = table.get("data").map_or(Some("tallystick-data"), toml::Value::as_str)?;
    Some(text.directory().join(data))
}

/// "has a wrong value", with the shape and an example from the reference.
pub(super) fn wrong_value(key: String, row: &reference::Key, why: &str) -> ProblemKind {
    let name = key.rsplit('.').next().unwrap_or(&key).to_owned();
    ProblemKind::Value {
        why: format!("has a wrong value: {why}"),
        fix: format!("write {} ({})", format_args!("{name} = {}", row.example), row.shape),
        key,
    }
}

/// The search for unknown keys.
struct Unknown<'f> {
    file: &'f FileText,
    reference: &'f Reference,
    found: &'f mut Vec<Problem>,
}

impl Unknown<'_> {
    /// Walks the parsed table beside the reference. `shown` is the path as people write it, `path`
    /// the one with `*`.
    fn find(&mut self, table: &DeTable<'_>, path: &str, shown: &str) {
        for (key, value) in table {
            let name: &str = key.get_ref();
            // Below `sumdb` every name is allowed: it is the database's.
            let step = if path == "sumdb." { "*" } else { name };
            let (path, shown) = (format!("{path}{step}"), format!("{shown}{name}"));
            let is_section = self.reference.keys.iter().any(|key| key.path.starts_with(&format!("{path}.")));
            match value.get_ref() {
                DeValue::Table(inner) if is_section => {
                    self.find(inner, &format!("{path}."), &format!("{shown}."));
                }
                DeValue::Array(items) if is_section => {
                    for (i, item) in items.iter().enumerate() {
                        if let DeValue::Table(inner) = item.get_ref() {
                            self.find(inner, &format!("{path}.*."), &format!("{shown}.{}.", i + 1));
                        }
                    }
                }
                // A section that is no table, or a key with a value of the wrong type: the loader
                // says so.
                _ if is_section || self.reference.key(&path).is_some() => {}
                _ => {
                    let near = near(&path, self.reference);
                    let kind = ProblemKind::UnknownKey { near, listing: self.reference.listing, key: shown };
                    self.found.push(self.file.problem(key.span(), kind));
                }
            }
        }
    }
}

/// Known keys that look like `path`: few typing errors away, or the same name in another section.
fn near(path: &str, reference: &Reference) -> Vec<String> {
    let last = |path: &str| path.rsplit('.').next().map(str::to_owned).unwrap_or_default();
    let mut scored: Vec<(usize, &str)> = reference
        .keys
        .iter()
        .map(|key| {
            let whole = strsim::damerau_levenshtein(path, key.path);
            // One more than the bare distance, so that the same section wins.
            (whole.min(1 + strsim::damerau_levenshtein(&last(path), &last(key.path))), key.path)
        })
        .filter(|(distance, _)| *distance <= (last(path).len() / 3).clamp(1, 3) + 1)
        .collect();
    scored.sort();
    let best = scored.first().map_or(0, |(distance, _)| *distance);
    scored.retain(|(distance, _)| *distance <= best + 1);
    scored.into_iter().take(MAX_NEAR).map(|(_, path)| path.to_owned()).collect()
}

/// The parser's messages span lines where they list alternatives.
pub(super) fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}
