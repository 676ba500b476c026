//! What an operator says of one remote checksum database, `[sumdb."…"]`: who it is, what is kept of
//! it, when it is asked and how much.

use std::num::{NonZeroU32, NonZeroU64};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::declare::settings;
use super::loader::{At, Environment, Loader, TextList};
use super::problem::ProblemKind;
use super::reference::SERVER;
use super::said::{Said, SettingOrigin};
use super::{Mode, SUM_GOLANG_ORG, SUM_GOLANG_ORG_KEY, Schedule, Span, VerifyInterval};
use crate::note::VerifierKey;
use crate::source::{MAX_SOURCES, SourceUrl};

/// Asked more often than every second a log's operator would rightly shut us out; less than once a
/// day watches nothing.
const POLLS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 3600);
/// More at once helps nobody: each holds a tile in memory, and the log's servers would notice.
const JOBS: RangeInclusive<u64> = 1..=1024;
/// Where nobody says it: enough for a line with 100 ms of delay, little enough for the log's
/// operators.
const DEFAULT_JOBS: u64 = 32;
/// A look-up costs a dozen requests.
const REQUESTS_PER_SECOND: RangeInclusive<u64> = 1..=1_000_000;
/// A look-up costs up to 100 kB, a data tile 50 kB: with less than a kilobyte a second nothing
/// would ever end.
const BYTES_PER_SECOND: RangeInclusive<u64> = 1024..=1 << 40;

settings! {
    /// A remote checksum database.
    pub struct SumdbSection(at, name: &str, is_named: bool) {
        /// Its key; the key's name is the database's.
        "key" => key: Said<VerifierKey> = read_key(at, name);
        /// Where to ask, in order.
        "urls" => urls: Said<Vec<SourceUrl>> = read_urls(at, name);
        /// What is kept of it.
        "mode" => mode: Said<Mode> = at.parsed_or(Mode::OnDemand);
        /// How often a server asks for its newest head.
        "poll" => poll: Said<Span> = read_poll(at, mode.default_poll());
        /// When it asks, in place of that.
        "schedule" => schedule: Said<Option<Schedule>> = Said::optional(at.parsed());
        /// Requests in flight at once, data tiles of a full mirror among them.
        "jobs" => jobs: Said<usize> = at.count(DEFAULT_JOBS, JOBS);
        /// Requests begun in a second.
        "requests_per_second" => requests_per_second: Said<Option<NonZeroU32>> = {
            let rate = Said::optional(at.optional_number(REQUESTS_PER_SECOND));
            rate.map(|rate| NonZeroU32::new(u32::try_from(rate?).ok()?))
        };
        /// Bytes received in a second.
        "bytes_per_second" => bytes_per_second: Said<Option<NonZeroU64>> =
            Said::optional(at.optional_number(BYTES_PER_SECOND)).map(|rate| NonZeroU64::new(rate?));
        /// The file with the secret that signs `POST /hooks/mirror/<name>`; without one there is no
        /// hook.
        "hook_secret_file" => hook_secret_file: Said<Option<PathBuf>> = at.optional_path();
        /// In which time a full mirror of it is verified again.
        "verify_interval" => verify_interval: Said<VerifyInterval> =
            at.parsed_or(VerifyInterval::default());
    }
    also {
        /// Whether the configuration has a section for it. The built-in one is there for routes and
        /// for nothing else.
        is_named: bool = is_named;
    }
}

/// Stands for a key that is wrong or missing, which keeps the configuration from loading.
fn built_in_key() -> VerifierKey {
    SUM_GOLANG_ORG_KEY.parse().expect("the built-in key is valid")
}

/// The files of a mirror are named by its log. Their endings take up to 20 bytes of the 255 that file
/// systems allow.
const MAX_FILE_NAME_BYTES: usize = 235;

/// How long a log's name is as the name of a file, where most characters take three bytes.
fn file_name_bytes(name: &str) -> usize {
    name.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.') { 1 } else { 3 })
        .sum()
}

pub(super) fn read_key(at: &mut At<'_, '_>, name: &str) -> Said<VerifierKey> {
    let Some(text) = at.said::<String>() else { return built_in(at, name, built_in_key()) };
    let why = match text.parse::<VerifierKey>() {
        Ok(key) if key.name().as_str() == name && file_name_bytes(name) <= MAX_FILE_NAME_BYTES => {
            return text.map(|_| key);
        }
        Ok(key) if key.name().as_str() == name => {
            let bytes = file_name_bytes(name);
            format!(
                "its name takes {bytes} bytes as the name of a file, and {MAX_FILE_NAME_BYTES} are the most"
            )
        }
        Ok(key) => format!("it is the key of \"{}\"", key.name()),
        Err(error) => error.to_string(),
    };
    at.wrong(text.origin, &why);
    Said::by_default(built_in_key())
}

pub(super) fn read_urls(at: &mut At<'_, '_>, name: &str) -> Said<Vec<SourceUrl>> {
    let built_in_url = || format!("https://{SUM_GOLANG_ORG}").parse().expect("the built-in URL is valid");
    let Some(list) = at.said::<TextList>() else { return built_in(at, name, vec![built_in_url()]) };
    let urls = list.0.iter().map(|text| text.parse()).collect::<Result<Vec<SourceUrl>, _>>();
    let why = match urls {
        Ok(urls) if urls.is_empty() => "the list is empty".to_owned(),
        Ok(urls) if urls.len() > MAX_SOURCES => format!("it has more than {MAX_SOURCES} URLs"),
        Ok(urls) => return list.map(|_| urls),
        Err(error) => format!("it {error}"),
    };
    at.wrong(list.origin, &why);
    Said::by_default(Vec::new())
}

pub(super) fn read_poll(at: &mut At<'_, '_>, default: Duration) -> Said<Span> {
    let poll = at.parsed_or(Span(default));
    if !POLLS.contains(&poll.0) {
        at.wrong(poll.origin.clone(), &format!("{} is not between 1s and 24h", *poll));
    }
    poll
}

/// The built-in value, and a problem where it is not for this database: only sum.golang.org has
/// one.
fn built_in<T>(at: &mut At<'_, '_>, name: &str, value: T) -> Said<T> {
    if name != SUM_GOLANG_ORG {
        let row = at.row();
        let kind = ProblemKind::Value {
            key: at.shown(),
            why: "is missing".to_owned(),
            fix: format!("add {} = {} ({})", at.key, row.example, row.shape),
        };
        at.problem(at.place(), kind);
    }
    Said::by_default(value)
}

impl SumdbSection {
    /// Has addresses asked before the built-in ones, each once. Where somebody named the addresses,
    /// those stay alone.
    pub(super) fn ask_first(&mut self, urls: impl IntoIterator<Item = SourceUrl>, origin: &SettingOrigin) {
        if !self.urls.is_by_default() {
            return;
        }
        let mut first: Vec<SourceUrl> = Vec::new();
        for url in urls {
            if !first.contains(&url) {
                first.push(url);
            }
        }
        if !first.is_empty() {
            self.urls.origin = origin.clone();
        }
        first.append(&mut self.urls.value);
        self.urls.value = first;
    }

    /// Google's database with its built-in key, asked at its own address.
    pub fn sum_golang_org() -> SumdbSection {
        let environment = Environment::default();
        let mut loader = Loader::new(&SERVER, None, &environment);
        SumdbSection::read(&mut loader.empty_sumdb(SUM_GOLANG_ORG), SUM_GOLANG_ORG, false)
    }
}
