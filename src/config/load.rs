//! Flags over environment over file over defaults: every key is read here, and has its default here.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use toml::Spanned;

use super::file::{self, FileConfig, FileRoute, FileSumDb, Placed};
use super::layers::{Environment, Layers, Overrides, TextList};
use super::origin::Origin;
use super::problem::{ConfigError, Problem, ProblemKind};
use super::{
    Cache, Config, Limits, LogFormat, Mode, Redirects, RouteSection, SUM_GOLANG_ORG, SumDb, Tls, check,
};
use crate::module::PathPatterns;
use crate::route::{Checksum, Route};

/// The contact is sent with every request.
const MAX_CONTACT_BYTES: usize = 200;

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
        config.prefer_passthroughs();
        if layers.problems.is_empty() {
            // Only then: a route or database that was left out would make other lines look wrong.
            config.origins = layers.origins;
            layers.problems = check::problems(&config);
        }
        if layers.problems.is_empty() {
            config.notices = check::notices(&config, environment);
            return Ok(config);
        }
        Err(ConfigError::of(layers.problems))
    }
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
            contact: self.parsed("contact", file.contact).map(|Contact(contact)| contact),
            redirects: Redirects {
                hosts: self.list("redirects.hosts", file.redirects.hosts),
                private_sources: self.list("redirects.private_sources", file.redirects.private_sources),
            },
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
            witnesses: self.witnesses(file.witness, file.witnesses),
            freshness: self.freshness(file.freshness),
            notices: Vec::new(),
            origins: BTreeMap::new(),
        }
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

    fn list(&mut self, key: &'static str, file: Placed<Vec<String>>) -> Vec<String> {
        let file = file.map(|list| Spanned::new(list.span(), TextList(list.into_inner())));
        self.pick(key, None, file).map_or_else(Vec::new, |TextList(list)| list)
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
            connections: small(self.number("limits.connections", file.connections, 8_192, (2, 1_000_000)))
                as usize,
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
        let range = (0, 1 << 40);
        Cache {
            tile_bytes: self.number("cache.tile_bytes", file.tile_bytes, 16 << 20, range),
            lookup_bytes: self.number("cache.lookup_bytes", file.lookup_bytes, 24 << 20, range),
            database_bytes: self.number("cache.database_bytes", file.database_bytes, 16 << 20, range),
        }
    }

    fn sumdbs(&mut self, file: BTreeMap<String, Spanned<FileSumDb>>) -> BTreeMap<String, SumDb> {
        let mut sumdbs: BTreeMap<String, SumDb> = file
            .into_iter()
            .filter_map(|(name, entry)| Some((name.clone(), self.sumdb(&name, entry)?)))
            .collect();
        sumdbs.entry(SUM_GOLANG_ORG.to_owned()).or_insert_with(SumDb::sum_golang_org);
        sumdbs
    }

    fn route(&mut self, number: usize, route: Spanned<FileRoute>) -> Option<RouteSection> {
        let origin = self.place(&route);
        let FileRoute { modules, source, checksum } = route.into_inner();
        let place = self.place(&modules);
        let patterns = modules.into_inner();
        if let Some(why) = bad_pattern(&patterns) {
            self.wrong(place, format!("route.{number}.modules"), "route.*.modules", &why);
            return None;
        }
        let source = match source {
            None => None,
            Some(list) => match list.get_ref().join(",").parse() {
                Ok(list) => Some(list),
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
            name => Checksum::Sumdb(name),
        };
        let route = Route { modules: PathPatterns::parse(&patterns.join(",")), source, checksum };
        Some(RouteSection { route, patterns, origin })
    }
}

impl Config {
    /// Where nobody said how a checksum database is reached, the proxies of the route that takes everything from it are asked
    /// first: often the way to the public database is open to them only. The proxy of a narrower route is not told what else
    /// is looked up. Those that do not pass the database on are left out when the server starts.
    fn prefer_passthroughs(&mut self) {
        for (name, sumdb) in &mut self.sumdbs {
            let takes_everything = |section: &&RouteSection| {
                section.route.sumdb() == Some(name) && section.patterns.iter().any(|pattern| pattern == "*")
            };
            if let Some(RouteSection { route, origin, .. }) = self.routes.iter().find(takes_everything) {
                let proxies = route.source.iter().flat_map(|source| source.passthroughs_of(name));
                sumdb.ask_first(proxies, origin);
            }
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

impl FromStr for Mode {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Mode, &'static str> {
        match text {
            "full" => Ok(Mode::Full),
            "on-demand" => Ok(Mode::OnDemand),
            "heads" => Ok(Mode::Heads),
            _ => Err("it is none of full, on-demand, heads"),
        }
    }
}

/// An address that can stand in a header, checked.
struct Contact(String);

impl FromStr for Contact {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Contact, &'static str> {
        let is_plain = |c: char| c.is_ascii_graphic() && !"()\\\"".contains(c);
        let names_way = text.starts_with("mailto:") || text.starts_with("https://");
        match text.len() <= MAX_CONTACT_BYTES && names_way && text.chars().all(is_plain) {
            true => Ok(Contact(text.to_owned())),
            false => Err("it is no mailto: or https:// address without spaces and parentheses"),
        }
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
