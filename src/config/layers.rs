//! The layers that a setting can come from, and the strongest one's value with its origin.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use toml::Spanned;

use super::file::{self, FileText, Placed};
use super::origin::Origin;
use super::problem::Problem;
use super::reference;

/// What the command line said.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--config`: the file.
    pub config: Option<PathBuf>,
    /// `--data`.
    pub data: Option<PathBuf>,
    /// `--name`.
    pub name: Option<String>,
    /// `--listen`.
    pub listen: Option<SocketAddr>,
    /// `--metrics-listen`.
    pub metrics_listen: Option<SocketAddr>,
}

/// The environment variables, read once, so that tests need not change the process.
#[derive(Clone, Debug, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Those of this process. Names and values that are not UTF-8 are left out: no setting of ours is.
    pub fn of_process() -> Environment {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Environment(std::env::vars_os().filter_map(text).collect())
    }

    /// The value of `name`; an empty one counts as not set, as for the `go` command.
    pub fn var(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// All names, sorted.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(pairs: [(&str, &str); N]) -> Environment {
        Environment(pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }
}

pub(super) struct Layers<'a> {
    pub(super) text: Option<FileText>,
    pub(super) environment: &'a Environment,
    pub(super) origins: BTreeMap<&'static str, Origin>,
    pub(super) problems: Vec<Problem>,
}

impl Layers<'_> {
    /// The strongest layer that says something about `key`.
    pub(super) fn pick<T: FromStr<Err: Display>>(
        &mut self,
        key: &'static str,
        flag: Option<T>,
        file: Placed<T>,
    ) -> Option<T> {
        let row = reference::key(key).expect("every key that is read is in the reference");
        if let Some(value) = flag {
            let flag = row.flag.expect("a key that is read from a flag names it");
            self.origins.insert(key, Origin::Flag(flag));
            return Some(value);
        }
        let variable = reference::variable(key);
        if let Some(text) = self.environment.var(&variable) {
            let place = Origin::Environment(variable);
            return match text.parse() {
                Ok(value) => {
                    self.origins.insert(key, place);
                    Some(value)
                }
                Err(error) => {
                    self.wrong(place, key.to_owned(), key, &error.to_string());
                    None
                }
            };
        }
        let value = file?;
        let place = self.place(&value);
        self.origins.insert(key, place);
        Some(value.into_inner())
    }

    /// A text setting that is parsed by us and not by the TOML reader.
    pub(super) fn parsed<T: FromStr<Err: Display>>(
        &mut self,
        key: &'static str,
        file: Placed<String>,
    ) -> Option<T> {
        let text: String = self.pick(key, None, file)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                let place = self.origins.get(key).cloned().unwrap_or(Origin::Default);
                self.wrong(place, key.to_owned(), key, &error.to_string());
                None
            }
        }
    }

    /// A path; relative ones of the file start at the file's directory.
    pub(super) fn path(
        &mut self,
        key: &'static str,
        flag: Option<PathBuf>,
        file: Placed<PathBuf>,
    ) -> Option<PathBuf> {
        let path = self.pick(key, flag, file)?;
        match self.origins.get(key) {
            Some(Origin::File { .. }) => Some(self.directory().join(path)),
            _ => Some(path),
        }
    }

    pub(super) fn number(
        &mut self,
        key: &'static str,
        file: Placed<u64>,
        default: u64,
        range: (u64, u64),
    ) -> u64 {
        let value = self.pick(key, None, file).unwrap_or(default);
        if (range.0..=range.1).contains(&value) {
            return value;
        }
        let place = self.origins.get(key).cloned().unwrap_or(Origin::Default);
        self.wrong(
            place,
            key.to_owned(),
            key,
            &format!("{value} is not between {} and {}", range.0, range.1),
        );
        default
    }

    pub(super) fn wrong(&mut self, place: Origin, key: String, row: &str, why: &str) {
        let row = reference::key(row).expect("every key that is read is in the reference");
        self.problems.push(Problem { place, kind: file::wrong_value(key, row, why) });
    }

    pub(super) fn place<T>(&self, value: &Spanned<T>) -> Origin {
        self.text.as_ref().map_or(Origin::Default, |text| text.origin(value.span()))
    }

    pub(super) fn directory(&self) -> &Path {
        self.text.as_ref().map_or(Path::new(""), |text| text.directory())
    }
}

/// A list in an environment variable: separated by commas.
pub(super) struct TextList(pub(super) Vec<String>);

impl FromStr for TextList {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<TextList, Self::Err> {
        Ok(TextList(
            text.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect(),
        ))
    }
}
