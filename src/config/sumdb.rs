//! What an operator says of one remote checksum database, `[sumdb."…"]`: who it is, what is kept of it, when it is asked
//! and how much.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroU64};
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use toml::Spanned;

use super::file::{FileSumDb, Placed};
use super::layers::Layers;
use super::origin::Origin;
use super::problem::{Problem, ProblemKind};
use super::reference;
use super::{Mode, SUM_GOLANG_ORG, SUM_GOLANG_ORG_KEY, Schedule, Span, SumDb, VerifyInterval};
use crate::note::VerifierKey;
use crate::source::{MAX_SOURCES, SourceUrl};

/// Asked more often than every second a log's operator would rightly shut us out; less than once a day watches nothing.
const POLLS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 3600);
/// More at once helps nobody: each holds a tile in memory, and the log's servers would notice.
const JOBS: RangeInclusive<u64> = 1..=1024;
/// Where nobody says it: enough for a line with 100 ms of delay, little enough for the log's operators.
const DEFAULT_JOBS: usize = 32;
/// A look-up costs a dozen requests.
const REQUESTS_PER_SECOND: RangeInclusive<u64> = 1..=1_000_000;
/// A look-up costs up to 100 kB, a data tile 50 kB: with less than a kilobyte a second nothing would ever end.
const BYTES_PER_SECOND: RangeInclusive<u64> = 1024..=1 << 40;

/// A schedule, where there is one.
struct MaybeSchedule(Option<Schedule>);

impl FromStr for MaybeSchedule {
    type Err = super::ScheduleError;

    fn from_str(text: &str) -> Result<MaybeSchedule, Self::Err> {
        text.parse().map(|schedule| MaybeSchedule(Some(schedule)))
    }
}

impl Layers<'_> {
    pub(super) fn sumdb(&mut self, name: &str, entry: Spanned<FileSumDb>) -> Option<SumDb> {
        let section = self.place(&entry);
        let file = entry.into_inner();
        let mut origins = BTreeMap::new();
        let (mode, mode_origin) = self.sumdb_value(name, "mode", file.mode, Mode::OnDemand);
        let (Span(poll), poll_origin) = self.sumdb_value(name, "poll", file.poll, Span(mode.default_poll()));
        if !POLLS.contains(&poll) {
            let why = format!("{} is not between 1s and 24h", Span(poll));
            self.wrong(poll_origin.clone(), format!("sumdb.{name}.poll"), "sumdb.*.poll", &why);
        }
        let (verify_interval, verify_interval_origin) =
            self.sumdb_value(name, "verify_interval", file.verify_interval, VerifyInterval::default());
        let mut number = |key: &'static str, value: Placed<u64>, range: RangeInclusive<u64>| {
            let value = value?;
            let (place, value) = (self.place(&value), value.into_inner());
            if !range.contains(&value) {
                let why = format!("{value} is not between {} and {}", range.start(), range.end());
                self.wrong(place.clone(), format!("sumdb.{name}.{key}"), &format!("sumdb.*.{key}"), &why);
            }
            origins.insert(key, place);
            Some(value)
        };
        let jobs = number("jobs", file.jobs, JOBS).and_then(|jobs| usize::try_from(jobs).ok());
        let requests = number("requests_per_second", file.requests_per_second, REQUESTS_PER_SECOND);
        let bytes = number("bytes_per_second", file.bytes_per_second, BYTES_PER_SECOND);
        let (schedule, schedule_origin) =
            self.sumdb_value(name, "schedule", file.schedule, MaybeSchedule(None));
        origins.insert("schedule", schedule_origin);
        let hook_secret_file = file.hook_secret_file.map(|path| {
            origins.insert("hook_secret_file", self.place(&path));
            self.directory().join(path.into_inner())
        });
        let built_in = (name == SUM_GOLANG_ORG).then(SumDb::sum_golang_org);
        let (built_in_key, built_in_urls) = match built_in {
            Some(sumdb) => (Some((sumdb.key, Origin::Default)), Some((sumdb.urls, Origin::Default))),
            None => (None, None),
        };
        let key = match file.key {
            Some(text) => self.sumdb_key(name, text),
            None => self.or_missing(built_in_key, &section, name, "key"),
        };
        let urls = match file.urls {
            Some(list) => self.sumdb_urls(name, list),
            None => self.or_missing(built_in_urls, &section, name, "urls"),
        };
        let ((key, key_origin), (urls, urls_origin)) = (key?, urls?);
        Some(SumDb {
            key,
            urls,
            mode,
            poll,
            schedule: schedule.0,
            jobs: jobs.unwrap_or(DEFAULT_JOBS),
            requests_per_second: requests.and_then(|rate| NonZeroU32::new(u32::try_from(rate).ok()?)),
            bytes_per_second: bytes.and_then(NonZeroU64::new),
            hook_secret_file,
            verify_interval,
            is_named: true,
            key_origin,
            urls_origin,
            mode_origin,
            poll_origin,
            origins,
            verify_interval_origin,
        })
    }

    /// A text of a section, parsed, or else its default.
    fn sumdb_value<T: FromStr<Err: std::fmt::Display>>(
        &mut self,
        name: &str,
        key: &str,
        text: Placed<String>,
        default: T,
    ) -> (T, Origin) {
        let Some(text) = text else { return (default, Origin::Default) };
        let place = self.place(&text);
        match text.get_ref().parse() {
            Ok(value) => (value, place),
            Err(error) => {
                let row = format!("sumdb.*.{key}");
                self.wrong(place.clone(), format!("sumdb.{name}.{key}"), &row, &error.to_string());
                (default, place)
            }
        }
    }

    fn sumdb_key(&mut self, name: &str, text: Spanned<String>) -> Option<(VerifierKey, Origin)> {
        let place = self.place(&text);
        let why = match text.get_ref().parse::<VerifierKey>() {
            Ok(key) if key.name().as_str() == name => return Some((key, place)),
            Ok(key) => format!("it is the key of \"{}\"", key.name()),
            Err(error) => error.to_string(),
        };
        self.wrong(place, format!("sumdb.{name}.key"), "sumdb.*.key", &why);
        None
    }

    fn sumdb_urls(&mut self, name: &str, list: Spanned<Vec<String>>) -> Option<(Vec<SourceUrl>, Origin)> {
        let place = self.place(&list);
        let urls = list.get_ref().iter().map(|text| text.parse()).collect::<Result<Vec<SourceUrl>, _>>();
        let why = match urls {
            Ok(urls) if urls.is_empty() => "the list is empty".to_owned(),
            Ok(urls) if urls.len() > MAX_SOURCES => format!("it has more than {MAX_SOURCES} URLs"),
            Ok(urls) => return Some((urls, place)),
            Err(error) => format!("it {error}"),
        };
        self.wrong(place, format!("sumdb.{name}.urls"), "sumdb.*.urls", &why);
        None
    }

    /// The built-in value, or a problem: only sum.golang.org has one.
    fn or_missing<T>(&mut self, built_in: Option<T>, section: &Origin, name: &str, key: &str) -> Option<T> {
        if built_in.is_none() {
            let row = reference::key(&format!("sumdb.*.{key}")).expect("sumdb keys are in the reference");
            let kind = ProblemKind::Value {
                key: format!("sumdb.{name}.{key}"),
                why: "is missing".to_owned(),
                fix: format!("add {key} = {} ({})", row.example, row.shape),
            };
            self.problems.push(Problem { place: section.clone(), kind });
        }
        built_in
    }
}

impl SumDb {
    /// Has addresses asked before the built-in ones, each once. Where somebody named the addresses, those stay alone.
    pub(super) fn ask_first(&mut self, urls: impl IntoIterator<Item = SourceUrl>, origin: &Origin) {
        if self.urls_origin != Origin::Default {
            return;
        }
        let mut first: Vec<SourceUrl> = Vec::new();
        for url in urls {
            if !first.contains(&url) {
                first.push(url);
            }
        }
        if !first.is_empty() {
            self.urls_origin = origin.clone();
        }
        first.append(&mut self.urls);
        self.urls = first;
    }

    /// Google's database with its built-in key, asked at its own address.
    pub fn sum_golang_org() -> SumDb {
        SumDb {
            key: SUM_GOLANG_ORG_KEY.parse().expect("the built-in key is valid"),
            urls: vec![format!("https://{SUM_GOLANG_ORG}").parse().expect("the built-in URL is valid")],
            mode: Mode::OnDemand,
            poll: Mode::OnDemand.default_poll(),
            schedule: None,
            jobs: DEFAULT_JOBS,
            requests_per_second: None,
            bytes_per_second: None,
            hook_secret_file: None,
            verify_interval: VerifyInterval::default(),
            is_named: false,
            key_origin: Origin::Default,
            urls_origin: Origin::Default,
            mode_origin: Origin::Default,
            poll_origin: Origin::Default,
            origins: BTreeMap::new(),
            verify_interval_origin: Origin::Default,
        }
    }
}
