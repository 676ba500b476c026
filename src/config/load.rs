//! Loading the configuration of the server, and the values that are more than a number or a path.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use ipnet::IpNet;

use super::loader::{At, Environment, Loader, Overrides, TextList};
use super::patterns::DeadPattern;
use super::problem::{ConfigError, ProblemKind};
use super::reference::SERVER;
use super::said::Said;
use super::{Config, Mode, RouteSection, SUM_GOLANG_ORG, SumdbSection, TlsFiles, check, file};
use crate::module::PathPatterns;
use crate::route::{Checksum, Route};
use crate::source::SourceList;

/// The contact is sent with every request.
const MAX_CONTACT_BYTES: usize = 200;

impl Config {
    /// Reads and checks the configuration. Without `--config` and TALLYSTICK_CONFIG there is no
    /// file, only defaults.
    pub fn load(overrides: &Overrides, environment: &Environment) -> Result<Config, ConfigError> {
        let named =
            overrides.config.clone().or_else(|| environment.var("TALLYSTICK_CONFIG").map(PathBuf::from));
        let text = named.as_deref().map(|path| file::read(path, &SERVER)).transpose()?;
        let table = text.as_ref().map(|text| file::parse(text, &SERVER)).transpose()?.unwrap_or_default();
        let mut loader = Loader::new(&SERVER, text.as_ref(), environment);
        let mut config = Config::read(&mut loader.root(table), overrides);
        // What must hold between settings comes after: one that was left out would make others look
        // wrong.
        loader.finish()?;
        config.file = named;
        config.prefer_passthroughs();
        let problems = check::problems(&config);
        if !problems.is_empty() {
            return Err(ConfigError::of(problems));
        }
        config.notices = check::notices(&config, environment);
        Ok(config)
    }
}

impl Config {
    /// Returns the data directory, also where the rest of the configuration is wrong: for a command
    /// that asks the server of that directory, and leaves it to the server to refuse the rest.
    pub fn data_directory(overrides: &Overrides, environment: &Environment) -> Result<PathBuf, ConfigError> {
        let error = match Config::load(overrides, environment) {
            Ok(config) => return Ok(config.data.value),
            Err(error) => error,
        };
        let said = overrides.data.clone().or_else(|| environment.var("TALLYSTICK_DATA").map(PathBuf::from));
        let named =
            overrides.config.clone().or_else(|| environment.var("TALLYSTICK_CONFIG").map(PathBuf::from));
        said.or_else(|| file::data_of(&named?, &SERVER)).ok_or(error)
    }
}

/// Reads `[tls]`.
pub(super) fn tls(at: &mut At<'_, '_>) -> TlsFiles {
    let tls = TlsFiles::read(at);
    both_or_neither(at, ("tls.cert", &tls.cert), ("tls.key", &tls.key));
    tls
}

/// Checks that nobody named a certificate without its key, or the reverse.
pub(super) fn both_or_neither(
    at: &mut At<'_, '_>,
    cert: (&str, &Said<Option<PathBuf>>),
    key: (&str, &Said<Option<PathBuf>>),
) {
    let ((there, said), (missing, _)) = match (cert.1.is_some(), key.1.is_some()) {
        (true, false) => (cert, key),
        (false, true) => (key, cert),
        _ => return,
    };
    let fix = format!("set both, or neither: behind a TLS proxy neither is needed; {missing} is missing");
    let why = format!("is set without `{missing}`");
    at.problem(said.origin.clone(), ProblemKind::Value { key: there.to_owned(), why, fix });
}

/// Reads a list of addresses and networks.
pub(super) fn networks(at: &mut At<'_, '_>) -> Said<Vec<IpNet>> {
    let Said { value: list, origin } = at.list();
    let mut networks = Vec::new();
    for text in list {
        match text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)) {
            Ok(network) => networks.push(network),
            Err(_) => at.wrong(origin.clone(), &format!("`{text}` is no address or network")),
        }
    }
    Said { value: networks, origin }
}

pub(super) fn contact(at: &mut At<'_, '_>) -> Said<Option<String>> {
    Said::optional(at.parsed::<Contact>().map(|said| said.map(|Contact(contact)| contact)))
}

pub(super) fn log_filter(at: &mut At<'_, '_>) -> Said<Option<String>> {
    Said::optional(at.parsed::<LogFilter>().map(|said| said.map(|LogFilter(filter)| filter)))
}

/// Reads each `[sumdb."…"]`, and adds the built-in one.
pub(super) fn sumdbs(at: &mut At<'_, '_>) -> BTreeMap<String, SumdbSection> {
    at.key = "sumdb";
    let mut sumdbs = at.each_named(|at, name| SumdbSection::read(at, name, true));
    sumdbs.entry(SUM_GOLANG_ORG.to_owned()).or_insert_with(SumdbSection::sum_golang_org);
    sumdbs
}

/// Reads each `[[route]]`.
pub(super) fn routes(at: &mut At<'_, '_>) -> Vec<RouteSection> {
    at.key = "route";
    at.each(|at, _| route(at))
}

fn route(at: &mut At<'_, '_>) -> Option<RouteSection> {
    at.key = "checksum";
    let checksum = at.required::<String>();
    at.key = "source";
    let source = at.said::<TextList>();
    at.key = "netrc";
    let netrc = at.optional_path();
    at.key = "modules";
    let modules = at.required::<TextList>();
    let (checksum, Said { value: TextList(patterns), origin: place }) = (checksum?.value, modules?);
    let empty = patterns.is_empty().then(|| "the list is empty".to_owned());
    if let Some(why) = empty.or_else(|| bad_pattern(&patterns)) {
        at.wrong(place, &why);
        return None;
    }
    at.key = "source";
    let source = match source {
        None => None,
        Some(Said { value: TextList(list), origin }) => match list.join(",").parse::<SourceList>() {
            Ok(list) => Some(list),
            Err(error) => {
                at.wrong(origin, &format!("it {error}"));
                return None;
            }
        },
    };
    let checksum = if checksum == "compute" { Checksum::Compute } else { Checksum::Sumdb(checksum) };
    let route = Route { modules: PathPatterns::parse(&patterns.join(",")), source, checksum };
    Some(RouteSection { route, patterns, netrc, origin: at.place() })
}

impl Config {
    /// Where nobody said how a checksum database is reached, the proxies of the route that takes
    /// everything from it are asked first: often the way to the public database is open to them
    /// only. The proxy of a narrower route is not told what else is looked up. Those that do not
    /// pass the database on are left out when the server starts.
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

/// Why this is no list of GOPRIVATE patterns. The `go` command skips what it cannot read, which
/// would let a mistyped private pattern fall through to a public route, so that it is an error
/// here.
pub(super) fn bad_pattern(patterns: &[String]) -> Option<String> {
    patterns.iter().find_map(|pattern| {
        let why = if pattern.is_empty() {
            "is empty"
        } else if pattern.contains(',') || pattern.contains(char::is_whitespace) {
            "holds a comma or a space: each pattern is its own element"
        } else {
            let dead = DeadPattern::of(pattern)?;
            let meant = dead.meant.map(|meant| format!(" (`{meant}` is probably meant)"));
            return Some(format!("`{pattern}` {}{}", dead.why, meant.unwrap_or_default()));
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
