//! Flags over environment over file over defaults, each value with its origin.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use toml::Spanned;

use super::file::{self, FileConfig, FileRoute, FileSumDb, FileText, Placed};
use super::origin::Origin;
use super::problem::{ConfigError, Problem, ProblemKind};
use super::reference;
use super::source::{SourceList, UpstreamUrl};
use super::{
    Cache, Checksum, Config, Limits, LogFormat, Route, SUM_GOLANG_ORG, SUM_GOLANG_ORG_KEY, SumDb, Tls, check,
};
use crate::module::PathPatterns;
use crate::note::VerifierKey;

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

impl Config {
    /// Reads and checks the configuration. Without `--config` and TALLYSTICK_CONFIG there is no file, only defaults.
    pub fn load(overrides: &Overrides, environment: &Environment) -> Result<Config, ConfigError> {
        let named =
            overrides.config.clone().or_else(|| environment.var("TALLYSTICK_CONFIG").map(PathBuf::from));
        let (text, file) = match &named {
            Some(path) => {
                let (text, file) = file::read(path)?;
                (Some(text), file)
            }
            None => (None, FileConfig::default()),
        };
        let mut layers = Layers { text, environment, origins: BTreeMap::new(), problems: Vec::new() };
        let mut config = layers.resolve(overrides, file);
        config.file = named;
        let origins = &layers.origins;
        layers
            .problems
            .extend(check::problems(&config, |key| origins.get(key).cloned().unwrap_or(Origin::Default)));
        if layers.problems.is_empty() {
            config.origins = layers.origins;
            config.notices = check::notices(&config, environment);
            return Ok(config);
        }
        Err(ConfigError { problems: layers.problems })
    }
}

struct Layers<'a> {
    text: Option<FileText>,
    environment: &'a Environment,
    origins: BTreeMap<&'static str, Origin>,
    problems: Vec<Problem>,
}

impl Layers<'_> {
    fn resolve(&mut self, flags: &Overrides, file: FileConfig) -> Config {
        let data = self.path("data", flags.data.clone(), file.data);
        let data = data.unwrap_or_else(|| self.directory().join("tallystick-data"));
        let anchor = self.path("anchor", None, file.anchor).unwrap_or_else(|| data.join("anchor.db"));
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let listen = self.pick("listen", flags.listen, file.listen).unwrap_or(local(8470));
        let metrics_listen = self.pick("metrics_listen", flags.metrics_listen, file.metrics_listen);
        Config {
            file: None,
            name: self.pick("name", flags.name.clone(), file.name),
            url: self.parsed("url", file.url),
            data,
            anchor,
            listen,
            metrics_listen: metrics_listen.unwrap_or(local(8471)),
            tls: self.tls(file.tls),
            trusted_proxies: self.proxies(file.trusted_proxies),
            roots: self.path("roots", None, file.roots),
            git_config: self.path("git_config", None, file.git_config),
            log_format: self.parsed("log_format", file.log_format).unwrap_or(LogFormat::Text),
            log_filter: self.parsed("log_filter", file.log_filter).map(|LogFilter(filter)| filter),
            limits: self.limits(file.limits),
            cache: self.cache(file.cache),
            sumdbs: self.sumdbs(file.sumdb),
            routes: file
                .route
                .into_iter()
                .enumerate()
                .filter_map(|(i, route)| self.route(i + 1, route))
                .collect(),
            notices: Vec::new(),
            origins: BTreeMap::new(),
        }
    }

    /// The strongest layer that says something about `key`.
    fn pick<T: FromStr<Err: Display>>(
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
    fn parsed<T: FromStr<Err: Display>>(&mut self, key: &'static str, file: Placed<String>) -> Option<T> {
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
    fn path(&mut self, key: &'static str, flag: Option<PathBuf>, file: Placed<PathBuf>) -> Option<PathBuf> {
        let path = self.pick(key, flag, file)?;
        match self.origins.get(key) {
            Some(Origin::File { .. }) => Some(self.directory().join(path)),
            _ => Some(path),
        }
    }

    fn number(&mut self, key: &'static str, file: Placed<u64>, default: u64, range: (u64, u64)) -> u64 {
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

    fn tls(&mut self, file: file::FileTls) -> Option<Tls> {
        match (self.path("tls.cert", None, file.cert), self.path("tls.key", None, file.key)) {
            (Some(cert), Some(key)) => Some(Tls { cert, key }),
            (None, None) => None,
            (cert, _) => {
                let (there, missing) =
                    if cert.is_some() { ("tls.cert", "tls.key") } else { ("tls.key", "tls.cert") };
                let place = self.origins.get(there).cloned().unwrap_or(Origin::Default);
                let fix = format!(
                    "set both, or neither: a TLS proxy in front needs no [tls]; {missing} is missing"
                );
                let why = format!("is set without `{missing}`");
                self.problems
                    .push(Problem { place, kind: ProblemKind::Value { key: there.to_owned(), why, fix } });
                None
            }
        }
    }

    fn proxies(&mut self, file: Placed<Vec<String>>) -> Vec<IpNet> {
        let key = "trusted_proxies";
        let file = file.map(|list| Spanned::new(list.span(), TextList(list.into_inner())));
        let Some(TextList(list)) = self.pick(key, None, file) else { return Vec::new() };
        let mut networks = Vec::new();
        for text in list {
            match text.parse::<IpNet>().or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from)) {
                Ok(network) => networks.push(network),
                Err(_) => {
                    let place = self.origins.get(key).cloned().unwrap_or(Origin::Default);
                    self.wrong(place, key.to_owned(), key, &format!("`{text}` is no address or network"));
                }
            }
        }
        networks
    }

    fn limits(&mut self, file: file::FileLimits) -> Limits {
        let small = |value: u64| u32::try_from(value).expect("the range was checked");
        Limits {
            deadline: Duration::from_secs(self.number(
                "limits.deadline_seconds",
                file.deadline_seconds,
                50,
                (1, 600),
            )),
            concurrency: small(self.number("limits.concurrency", file.concurrency, 64, (1, 10_000))) as usize,
            zip_bytes: self.number("limits.zip_bytes", file.zip_bytes, 500 << 20, (1, 500 << 20)),
            client_misses_per_minute: small(self.number(
                "limits.client_misses_per_minute",
                file.client_misses_per_minute,
                3_000,
                (1, 1_000_000),
            )),
            misses_per_minute: small(self.number(
                "limits.misses_per_minute",
                file.misses_per_minute,
                30_000,
                (1, 10_000_000),
            )),
            negative_cache: Duration::from_secs(self.number(
                "limits.negative_cache_seconds",
                file.negative_cache_seconds,
                30,
                (0, 60),
            )),
        }
    }

    fn cache(&mut self, file: file::FileCache) -> Cache {
        let (default, range) = (32 << 20, (0, 1 << 40));
        Cache {
            tile_bytes: self.number("cache.tile_bytes", file.tile_bytes, default, range),
            lookup_bytes: self.number("cache.lookup_bytes", file.lookup_bytes, default, range),
            database_bytes: self.number("cache.database_bytes", file.database_bytes, default, range),
        }
    }

    fn sumdbs(&mut self, file: BTreeMap<String, Spanned<FileSumDb>>) -> BTreeMap<String, SumDb> {
        let mut sumdbs: BTreeMap<String, SumDb> = file
            .into_iter()
            .filter_map(|(name, entry)| Some((name.clone(), self.sumdb(name, entry)?)))
            .collect();
        sumdbs.entry(SUM_GOLANG_ORG.to_owned()).or_insert_with(SumDb::sum_golang_org);
        sumdbs
    }

    fn sumdb(&mut self, name: String, entry: Spanned<FileSumDb>) -> Option<SumDb> {
        let origin = self.place(&entry);
        let FileSumDb { key, urls } = entry.into_inner();
        let built_in = (name == SUM_GOLANG_ORG).then(SumDb::sum_golang_org);
        let key_path = format!("sumdb.{name}.key");
        let key = match (key, &built_in) {
            (Some(text), _) => {
                let place = self.place(&text);
                match text.get_ref().parse::<VerifierKey>() {
                    Ok(key) if key.name().as_str() == name => key,
                    Ok(key) => {
                        let why = format!("is the key of \"{}\"", key.name().as_str());
                        self.wrong(place, key_path, "sumdb.*.key", &why);
                        return None;
                    }
                    Err(error) => {
                        self.wrong(place, key_path, "sumdb.*.key", &error.to_string());
                        return None;
                    }
                }
            }
            (None, Some(built_in)) => built_in.key.clone(),
            (None, None) => {
                self.wrong(origin, key_path, "sumdb.*.key", "it is missing");
                return None;
            }
        };
        let mut parsed = Vec::new();
        for text in urls.unwrap_or_default() {
            match text.get_ref().parse::<UpstreamUrl>() {
                Ok(url) => parsed.push(url),
                Err(error) => {
                    let place = self.place(&text);
                    self.wrong(place, format!("sumdb.{name}.urls"), "sumdb.*.urls", &format!("it {error}"));
                }
            }
        }
        match (parsed.is_empty(), built_in) {
            (false, _) => {}
            (true, Some(built_in)) => parsed = built_in.urls,
            (true, None) => {
                self.wrong(origin.clone(), format!("sumdb.{name}.urls"), "sumdb.*.urls", "it is missing")
            }
        }
        Some(SumDb { key, urls: parsed, origin })
    }

    fn route(&mut self, number: usize, route: Spanned<FileRoute>) -> Option<Route> {
        let origin = self.place(&route);
        let FileRoute { modules, source, checksum } = route.into_inner();
        let place = self.place(&modules);
        let patterns = modules.into_inner();
        if let Some(why) = bad_pattern(&patterns) {
            self.wrong(place, format!("route.{number}.modules"), "route.*.modules", &why);
            return None;
        }
        let source = match source {
            None => SourceList::default(),
            Some(list) => match list.get_ref().join(",").parse() {
                Ok(list) => list,
                Err(error) => {
                    let place = self.place(&list);
                    self.wrong(
                        place,
                        format!("route.{number}.source"),
                        "route.*.source",
                        &format!("it {error}"),
                    );
                    return None;
                }
            },
        };
        let checksum = match checksum.into_inner() {
            word if word == "compute" => Checksum::Compute,
            name => Checksum::SumDb(name),
        };
        Some(Route { modules: PathPatterns::parse(&patterns.join(",")), patterns, source, checksum, origin })
    }

    fn wrong(&mut self, place: Origin, key: String, row: &str, why: &str) {
        let row = reference::key(row).expect("every key that is read is in the reference");
        self.problems.push(Problem { place, kind: file::wrong_value(key, row, why) });
    }

    fn place<T>(&self, value: &Spanned<T>) -> Origin {
        self.text.as_ref().map_or(Origin::Default, |text| text.origin(value.span()))
    }

    fn directory(&self) -> &Path {
        self.text.as_ref().map_or(Path::new(""), |text| text.directory())
    }
}

impl SumDb {
    /// Google's database with its built-in key, asked at its own address.
    pub fn sum_golang_org() -> SumDb {
        SumDb {
            key: SUM_GOLANG_ORG_KEY.parse().expect("the built-in key is valid"),
            urls: vec![format!("https://{SUM_GOLANG_ORG}").parse().expect("the built-in URL is valid")],
            origin: Origin::Default,
        }
    }
}

/// Why this is no list of GOPRIVATE patterns. The `go` command skips what it cannot read, which would let a
/// mistyped private pattern fall through to a public route, so that it is an error here.
fn bad_pattern(patterns: &[String]) -> Option<String> {
    if patterns.is_empty() {
        return Some("the list is empty".to_owned());
    }
    patterns.iter().find_map(|pattern| {
        let why = if pattern.is_empty() {
            "is empty"
        } else if pattern.contains(',') || pattern.contains(char::is_whitespace) {
            "holds a comma or a space: each pattern is its own element"
        } else if pattern.contains("://") {
            "is a URL: module paths have no scheme"
        } else if pattern.starts_with('/') || pattern.contains("//") {
            "has an empty path element"
        } else if PathPatterns::parse(pattern).malformed().next().is_some() {
            "is not a complete pattern"
        } else {
            return None;
        };
        Some(format!("`{pattern}` {why}"))
    })
}

/// A list in an environment variable: separated by commas.
struct TextList(Vec<String>);

impl FromStr for TextList {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<TextList, Self::Err> {
        Ok(TextList(
            text.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect(),
        ))
    }
}

/// Directives of tracing's EnvFilter, checked.
struct LogFilter(String);

impl FromStr for LogFilter {
    type Err = tracing_subscriber::filter::ParseError;

    fn from_str(text: &str) -> Result<LogFilter, Self::Err> {
        text.parse::<tracing_subscriber::filter::Targets>().map(|_| LogFilter(text.to_owned()))
    }
}

impl FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<LogFormat, &'static str> {
        match text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err("it is neither text nor json"),
        }
    }
}
