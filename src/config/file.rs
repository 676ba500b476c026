//! The configuration file as it is written: TOML, each value with its place. No defaults and no meaning here; those
//! are in `load`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::origin::Origin;
use super::problem::{ConfigError, Problem, ProblemKind};
use super::reference::{self, KEYS};

/// A configuration is a few kilobytes; whatever is larger than this was named by mistake.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// At most this many near matches are offered for an unknown key.
const MAX_NEAR: usize = 3;

pub(super) type Placed<T> = Option<Spanned<T>>;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileConfig {
    pub(super) name: Placed<String>,
    pub(super) url: Placed<String>,
    pub(super) data: Placed<PathBuf>,
    pub(super) anchor: Placed<PathBuf>,
    pub(super) listen: Placed<SocketAddr>,
    pub(super) metrics_listen: Placed<SocketAddr>,
    pub(super) trusted_proxies: Placed<Vec<String>>,
    pub(super) roots: Placed<PathBuf>,
    pub(super) git_config: Placed<PathBuf>,
    pub(super) contact: Placed<String>,
    pub(super) log_format: Placed<String>,
    pub(super) log_filter: Placed<String>,
    #[serde(default)]
    pub(super) tls: FileTls,
    #[serde(default)]
    pub(super) redirects: FileRedirects,
    #[serde(default)]
    pub(super) limits: FileLimits,
    #[serde(default)]
    pub(super) cache: FileCache,
    #[serde(default)]
    pub(super) sumdb: BTreeMap<String, Spanned<FileSumDb>>,
    #[serde(default)]
    pub(super) route: Vec<Spanned<FileRoute>>,
    #[serde(default)]
    pub(super) witness: Vec<Spanned<FileWitness>>,
    #[serde(default)]
    pub(super) witnesses: FileWitnesses,
    pub(super) freshness: Placed<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileWitness {
    pub(super) name: Spanned<String>,
    pub(super) url: Spanned<String>,
    pub(super) key: Spanned<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileWitnesses {
    pub(super) quorum: Placed<u64>,
    pub(super) required: Placed<bool>,
    pub(super) timeout_seconds: Placed<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileTls {
    pub(super) cert: Placed<PathBuf>,
    pub(super) key: Placed<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileRedirects {
    pub(super) hosts: Placed<Vec<String>>,
    pub(super) private_sources: Placed<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileLimits {
    pub(super) connections: Placed<u64>,
    pub(super) deadline_seconds: Placed<u64>,
    pub(super) concurrency: Placed<u64>,
    pub(super) zip_bytes: Placed<u64>,
    pub(super) client_misses_per_minute: Placed<u64>,
    pub(super) misses_per_minute: Placed<u64>,
    pub(super) negative_cache_seconds: Placed<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileCache {
    pub(super) tile_bytes: Placed<u64>,
    pub(super) lookup_bytes: Placed<u64>,
    pub(super) database_bytes: Placed<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileSumDb {
    pub(super) key: Placed<String>,
    pub(super) urls: Placed<Vec<String>>,
    pub(super) mode: Placed<String>,
    pub(super) poll: Placed<String>,
    pub(super) schedule: Placed<String>,
    pub(super) jobs: Placed<u64>,
    pub(super) requests_per_second: Placed<u64>,
    pub(super) bytes_per_second: Placed<u64>,
    pub(super) hook_secret_file: Placed<PathBuf>,
    pub(super) verify_interval: Placed<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileRoute {
    pub(super) modules: Spanned<Vec<String>>,
    pub(super) source: Placed<Vec<String>>,
    pub(super) checksum: Spanned<String>,
}

/// The text of the file, to turn places into line numbers.
#[derive(Debug, Default)]
pub(super) struct FileText {
    pub(super) path: PathBuf,
    text: String,
}

impl FileText {
    /// The origin of what stands at `span`.
    pub(super) fn origin(&self, span: Range<usize>) -> Origin {
        let before = self.text.as_bytes().iter().take(span.start);
        Origin::File { file: self.path.clone(), line: 1 + before.filter(|byte| **byte == b'\n').count() }
    }

    /// The directory that relative paths of the file start from.
    pub(super) fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    fn problem(&self, span: Range<usize>, kind: ProblemKind) -> Problem {
        Problem { place: self.origin(span), kind }
    }
}

/// Reads and parses the file. All unknown keys are reported together, since they are the usual mistake.
pub(super) fn read(path: &Path) -> Result<(FileText, FileConfig), ConfigError> {
    let mut file = FileText { path: path.to_owned(), text: String::new() };
    let unreadable = |source| Problem {
        place: Origin::File { file: path.to_owned(), line: 1 },
        kind: ProblemKind::Unreadable { source },
    };
    let handle = File::open(path).map_err(unreadable)?;
    handle.take(MAX_FILE_BYTES + 1).read_to_string(&mut file.text).map_err(unreadable)?;
    if file.text.len() as u64 > MAX_FILE_BYTES {
        return Err(file.problem(0..0, ProblemKind::TooLarge { limit_bytes: MAX_FILE_BYTES }).into());
    }
    let config = parse(&file)?;
    Ok((file, config))
}

fn parse(file: &FileText) -> Result<FileConfig, ConfigError> {
    let syntax = |error: toml::de::Error| {
        file.problem(error.span().unwrap_or(0..0), ProblemKind::Syntax { why: one_line(error.message()) })
    };
    let table = DeTable::parse(&file.text).map_err(syntax)?;
    let mut unknown = Vec::new();
    find_unknown(file, table.get_ref(), "", "", &mut unknown);
    if !unknown.is_empty() {
        return Err(ConfigError::of(unknown));
    }
    toml::from_str(&file.text).map_err(|error| {
        let span = error.span().unwrap_or(0..0);
        let key = key_at(table.get_ref(), "", &span);
        let row = key.as_deref().and_then(|key| reference::key(&pattern_of(key)));
        match (key, row) {
            (Some(key), Some(row)) => {
                file.problem(span, wrong_value(key, row, &one_line(error.message()))).into()
            }
            // A missing key of a route or sumdb: the message names it, and the place is the section.
            _ => file.problem(span, ProblemKind::Syntax { why: one_line(error.message()) }).into(),
        }
    })
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

/// Walks the parsed table beside the reference. `shown` is the path as people write it, `path` the one with `*`.
fn find_unknown(file: &FileText, table: &DeTable<'_>, path: &str, shown: &str, found: &mut Vec<Problem>) {
    for (key, value) in table {
        let name: &str = key.get_ref();
        // Below `sumdb` every name is allowed: it is the database's.
        let step = if path == "sumdb." { "*" } else { name };
        let (path, shown) = (format!("{path}{step}"), format!("{shown}{name}"));
        let is_section = KEYS.iter().any(|key| key.path.starts_with(&format!("{path}.")));
        match value.get_ref() {
            DeValue::Table(inner) if is_section => {
                find_unknown(file, inner, &format!("{path}."), &format!("{shown}."), found);
            }
            DeValue::Array(items) if is_section => {
                for (i, item) in items.iter().enumerate() {
                    if let DeValue::Table(inner) = item.get_ref() {
                        let shown = format!("{shown}.{}.", i + 1);
                        find_unknown(file, inner, &format!("{path}.*."), &shown, found);
                    }
                }
            }
            // A section that is no table, or a key with a value of the wrong type: serde says so.
            _ if is_section || reference::key(&path).is_some() => {}
            _ => found
                .push(file.problem(key.span(), ProblemKind::UnknownKey { near: near(&path), key: shown })),
        }
    }
}

/// Known keys that look like `path`: few typing errors away, or the same name in another section.
fn near(path: &str) -> Vec<String> {
    let last = |path: &str| path.rsplit('.').next().map(str::to_owned).unwrap_or_default();
    let mut scored: Vec<(usize, &str)> = KEYS
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

/// The key (`limits.concurrency`, `route.2.source`) whose value covers `span`.
fn key_at(table: &DeTable<'_>, prefix: &str, span: &Range<usize>) -> Option<String> {
    table.iter().find_map(|(key, value)| {
        let path = format!("{prefix}{}", key.get_ref());
        let covers = |range: Range<usize>| range.start <= span.start && span.end <= range.end;
        match value.get_ref() {
            DeValue::Table(inner) => key_at(inner, &format!("{path}."), span),
            DeValue::Array(items) if items.iter().any(|item| matches!(item.get_ref(), DeValue::Table(_))) => {
                items.iter().enumerate().find_map(|(i, item)| match item.get_ref() {
                    DeValue::Table(inner) => key_at(inner, &format!("{path}.{}.", i + 1), span),
                    _ => None,
                })
            }
            _ => covers(value.span()).then_some(path),
        }
    })
}

/// `route.2.source` as the reference writes it: `route.*.source`.
fn pattern_of(path: &str) -> String {
    match (path.split_once('.'), path.rsplit_once('.')) {
        (Some((section @ ("sumdb" | "route" | "witness"), _)), Some((_, last))) => {
            format!("{section}.*.{last}")
        }
        _ => path.to_owned(),
    }
}

/// The parser's messages span lines where they list alternatives.
fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}
