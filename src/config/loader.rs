//! The loader of settings: flags over environment over file over defaults, each value with who said
//! it.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::file::{self, FileText, one_line};
use super::listen::ListenAddress;
use super::problem::{ConfigError, Problem, ProblemKind};
use super::reference::{self, Reference};
use super::said::{Said, SettingOrigin};

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
    pub listen: Option<ListenAddress>,
    /// `--metrics-listen`.
    pub metrics_listen: Option<ListenAddress>,
    /// `--cacert`, as often as it was given.
    pub cacert: Vec<PathBuf>,
}

/// The environment variables, read once, so that tests need not change the process.
#[derive(Clone, Debug, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Those of this process. Names and values that are not UTF-8 are left out: no setting of ours
    /// is.
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

/// Where settings come from, and what was found wrong with them.
pub(super) struct Loader<'d> {
    /// The keys of the program whose configuration this is.
    reference: &'static Reference,
    text: Option<&'d FileText>,
    environment: &'d Environment,
    problems: Vec<Problem>,
    /// Values of the wrong type, with where they start.
    malformed: Vec<(usize, Problem)>,
}

type Values<'d> = BTreeMap<String, Spanned<DeValue<'d>>>;

/// A section of the configuration, at one of its keys.
pub(super) struct At<'l, 'd> {
    loader: &'l mut Loader<'d>,
    /// What the file says in this section and nobody has read yet.
    values: Values<'d>,
    /// Where the section starts in the file.
    span: Range<usize>,
    /// The path of the section as people write it, with a dot at its end: `route.2.`.
    shown: String,
    /// The same as the reference writes it: `route.*.`.
    row: String,
    /// The key that is read.
    pub(super) key: &'static str,
}

impl<'d> Loader<'d> {
    pub(super) fn new(
        reference: &'static Reference,
        text: Option<&'d FileText>,
        environment: &'d Environment,
    ) -> Loader<'d> {
        Loader { reference, text, environment, problems: Vec::new(), malformed: Vec::new() }
    }

    /// The whole file.
    pub(super) fn root(&mut self, table: DeTable<'d>) -> At<'_, 'd> {
        self.section(values(table), 0..0, String::new(), String::new())
    }

    /// A `[sumdb."…"]` in which nothing is said.
    pub(super) fn empty_sumdb(&mut self, name: &str) -> At<'_, 'd> {
        self.section(Values::new(), 0..0, format!("sumdb.{name}."), "sumdb.*.".to_owned())
    }

    fn section(&mut self, values: Values<'d>, span: Range<usize>, shown: String, row: String) -> At<'_, 'd> {
        At { loader: self, values, span, shown, row, key: "" }
    }

    /// Ends with what was found wrong. A value of the wrong type hides the rest, which may follow
    /// from it.
    pub(super) fn finish(self) -> Result<(), ConfigError> {
        if let Some((_, first)) = self.malformed.into_iter().min_by_key(|(start, _)| *start) {
            return Err(first.into());
        }
        if self.problems.is_empty() { Ok(()) } else { Err(ConfigError::of(self.problems)) }
    }
}

fn values(table: DeTable<'_>) -> Values<'_> {
    table.into_iter().map(|(key, value)| (key.into_inner().into_owned(), value)).collect()
}

impl<'d> At<'_, 'd> {
    /// The strongest that somebody said: the flag, the environment where the key has a variable,
    /// the file.
    pub(super) fn over<T: FromStr<Err: Display> + DeserializeOwned>(
        &mut self,
        flag: Option<T>,
    ) -> Option<Said<T>> {
        let row = self.row();
        let in_file = self.in_file();
        if let Some(value) = flag {
            let flag = row.flag.expect("a key that is read from a flag names it");
            return Some(Said { value, origin: SettingOrigin::Flag(flag) });
        }
        let variable = row.variable();
        let Some((variable, text)) = variable.and_then(|name| {
            let text = self.loader.environment.var(&name)?;
            Some((name, text))
        }) else {
            return in_file;
        };
        let origin = SettingOrigin::Environment(variable);
        match text.parse() {
            Ok(value) => Some(Said { value, origin }),
            Err(error) => {
                self.wrong(origin, &error.to_string());
                None
            }
        }
    }

    /// What environment or file say.
    pub(super) fn said<T: FromStr<Err: Display> + DeserializeOwned>(&mut self) -> Option<Said<T>> {
        self.over(None)
    }

    /// A text that is parsed by us and not by the TOML reader.
    pub(super) fn parsed<T: FromStr<Err: Display>>(&mut self) -> Option<Said<T>> {
        let Said { value: text, origin } = self.said::<String>()?;
        match text.parse() {
            Ok(value) => Some(Said { value, origin }),
            Err(error) => {
                self.wrong(origin, &error.to_string());
                None
            }
        }
    }

    /// A text that is parsed by us, with a default.
    pub(super) fn parsed_or<T: FromStr<Err: Display>>(&mut self, default: T) -> Said<T> {
        self.parsed().unwrap_or_else(|| Said::by_default(default))
    }

    /// A path, absolute, since an error that names it may be read anywhere; relative ones of the file
    /// start at the file's directory.
    pub(super) fn path(&mut self, flag: Option<PathBuf>) -> Option<Said<PathBuf>> {
        let Said { value, origin } = self.over(flag)?;
        let is_of_file = matches!(origin, SettingOrigin::File { .. });
        let value = if is_of_file { self.directory().join(value) } else { value };
        Some(Said { value: absolute(value), origin })
    }

    /// A path that stands for one that nobody gave, below the file's directory.
    pub(super) fn path_by_default(&self, name: &str) -> Said<PathBuf> {
        Said::by_default(absolute(self.directory().join(name)))
    }

    /// A path that may be left out.
    pub(super) fn optional_path(&mut self) -> Said<Option<PathBuf>> {
        Said::optional(self.path(None))
    }

    /// A list, in an environment variable separated by commas.
    pub(super) fn list(&mut self) -> Said<Vec<String>> {
        let list = self.said::<TextList>();
        list.map_or_else(|| Said::by_default(Vec::new()), |said| said.map(|TextList(list)| list))
    }

    /// A number in a range.
    pub(super) fn number(&mut self, default: u64, range: RangeInclusive<u64>) -> Said<u64> {
        self.optional_number(range).unwrap_or_else(|| Said::by_default(default))
    }

    /// A number in a range that may be left out.
    pub(super) fn optional_number(&mut self, range: RangeInclusive<u64>) -> Option<Said<u64>> {
        let said = self.said::<u64>()?;
        if range.contains(&said.value) {
            return Some(said);
        }
        let why = format!("{} is not between {} and {}", said.value, range.start(), range.end());
        self.wrong(said.origin, &why);
        None
    }

    /// A number of things in memory.
    pub(super) fn count(&mut self, default: u64, range: RangeInclusive<u64>) -> Said<usize> {
        self.number(default, range).map(|count| usize::try_from(count).unwrap_or(usize::MAX))
    }

    /// A number of at most four bytes.
    pub(super) fn small(&mut self, default: u64, range: RangeInclusive<u64>) -> Said<u32> {
        self.number(default, range).map(|number| u32::try_from(number).expect("the range was checked"))
    }

    /// A length of time in whole seconds.
    pub(super) fn seconds(&mut self, default: u64, range: RangeInclusive<u64>) -> Said<Duration> {
        self.number(default, range).map(Duration::from_secs)
    }

    /// A value that has no default. Without it the section is malformed.
    pub(super) fn required<T: FromStr<Err: Display> + DeserializeOwned>(&mut self) -> Option<Said<T>> {
        if !self.values.contains_key(self.key) {
            let why = format!("missing field `{}`", self.key);
            self.malformed(self.span.clone(), ProblemKind::Syntax { why });
        }
        self.said()
    }

    /// A value that has no default; what stands for a missing one is never used, since the loader
    /// ends with an error.
    pub(super) fn required_or_default<T>(&mut self) -> Said<T>
    where
        T: Default + FromStr<Err: Display> + DeserializeOwned,
    {
        self.required().unwrap_or_else(|| Said::by_default(T::default()))
    }

    /// A path that has no default; relative ones of the file start at the file's directory.
    pub(super) fn required_path(&mut self) -> Said<PathBuf> {
        let directory = self.directory().to_owned();
        self.required_or_default::<PathBuf>().map(|path| directory.join(path))
    }

    /// A list of paths; relative ones of the file start at the file's directory.
    pub(super) fn paths(&mut self) -> Said<Vec<PathBuf>> {
        let directory = self.directory().to_owned();
        self.list().map(|paths| paths.into_iter().map(|path| directory.join(path)).collect())
    }

    /// The section of the current key.
    pub(super) fn section(&mut self) -> At<'_, 'd> {
        let (shown, row) = (format!("{}{}.", self.shown, self.key), format!("{}{}.", self.row, self.key));
        let (values, span) = match self.values.remove(self.key) {
            None => (Values::new(), 0..0),
            Some(value) => (self.table(value.clone()).unwrap_or_default(), value.span()),
        };
        self.loader.section(values, span, shown, row)
    }

    /// Reads each section of the current key: `[[route]]`, numbered from 1.
    pub(super) fn each<T>(&mut self, mut read: impl FnMut(&mut At<'_, 'd>, usize) -> Option<T>) -> Vec<T> {
        let Some(value) = self.values.remove(self.key) else { return Vec::new() };
        let span = value.span();
        let DeValue::Array(items) = value.into_inner() else {
            let why = "invalid type: expected a list of sections".to_owned();
            self.malformed(span, ProblemKind::Syntax { why });
            return Vec::new();
        };
        let mut all = Vec::new();
        for (i, item) in items.into_iter().enumerate() {
            let (number, span) = (i + 1, item.span());
            let Some(values) = self.table(item) else { continue };
            let (shown, row) = (format!("{}.{number}.", self.key), format!("{}.*.", self.key));
            all.extend(read(&mut self.loader.section(values, span, shown, row), number));
        }
        all
    }

    /// Reads each section of the current key that has a name: `[sumdb."…"]`.
    pub(super) fn each_named<T>(
        &mut self,
        mut read: impl FnMut(&mut At<'_, 'd>, &str) -> T,
    ) -> BTreeMap<String, T> {
        let key = self.key;
        let named = self.section().values;
        let mut all = BTreeMap::new();
        for (name, value) in named {
            let span = value.span();
            let Some(values) = self.table(value) else { continue };
            let (shown, row) = (format!("{key}.{name}."), format!("{key}.*."));
            let section = read(&mut self.loader.section(values, span, shown, row), &name);
            all.insert(name, section);
        }
        all
    }

    /// Whether the file says anything at the current key.
    pub(super) fn is_there(&self) -> bool {
        self.values.contains_key(self.key)
    }

    /// Says that the value of the current key is wrong.
    pub(super) fn wrong(&mut self, place: SettingOrigin, why: &str) {
        let kind = file::wrong_value(self.shown(), self.row(), why);
        self.loader.problems.push(Problem { place, kind });
    }

    /// Says that the current key means nothing without another one of its section.
    pub(super) fn incomplete(&mut self, place: &SettingOrigin, missing: &str, fix: &str) {
        let why = format!("is set without `{missing}`");
        let kind = ProblemKind::Value { key: self.shown(), why, fix: fix.to_owned() };
        self.problem(place.clone(), kind);
    }

    pub(super) fn problem(&mut self, place: SettingOrigin, kind: ProblemKind) {
        self.loader.problems.push(Problem { place, kind });
    }

    /// The current key with its section, as people write it.
    pub(super) fn shown(&self) -> String {
        format!("{}{}", self.shown, self.key)
    }

    /// The current key in the reference.
    pub(super) fn row(&self) -> &'static reference::Key {
        let path = format!("{}{}", self.row, self.key);
        self.loader.reference.key(&path).expect("every key that is read is in the reference")
    }

    /// Where the section is.
    pub(super) fn place(&self) -> SettingOrigin {
        self.origin(self.span.clone())
    }

    /// The directory that relative paths of the file start from.
    pub(super) fn directory(&self) -> &Path {
        self.loader.text.map_or(Path::new(""), |text| text.directory())
    }

    fn origin(&self, span: Range<usize>) -> SettingOrigin {
        self.loader.text.map_or(SettingOrigin::Default, |text| text.origin(span))
    }

    fn in_file<T: DeserializeOwned>(&mut self) -> Option<Said<T>> {
        let value = self.values.remove(self.key)?;
        let span = value.span();
        match T::deserialize(ValueDeserializer::from(value)) {
            Ok(value) => Some(Said { value, origin: self.origin(span) }),
            Err(error) => {
                let kind = file::wrong_value(self.shown(), self.row(), &one_line(error.message()));
                self.malformed(error.span().unwrap_or(span), kind);
                None
            }
        }
    }

    fn table(&mut self, value: Spanned<DeValue<'d>>) -> Option<Values<'d>> {
        let span = value.span();
        match value.into_inner() {
            DeValue::Table(table) => Some(values(table)),
            other => {
                let error =
                    toml::Table::deserialize(ValueDeserializer::from(Spanned::new(span.clone(), other)));
                let why = error.err().map(|error| one_line(error.message())).unwrap_or_default();
                self.malformed(span, ProblemKind::Syntax { why });
                None
            }
        }
    }

    fn malformed(&mut self, span: Range<usize>, kind: ProblemKind) {
        let problem = Problem { place: self.origin(span.clone()), kind };
        self.loader.malformed.push((span.start, problem));
    }
}

/// A list in an environment variable: separated by commas.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct TextList(pub(super) Vec<String>);

impl FromStr for TextList {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<TextList, Self::Err> {
        Ok(TextList(
            text.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect(),
        ))
    }
}
/// The path from the root directory on. Where the working directory is gone, it stays as it is.
pub(super) fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}
