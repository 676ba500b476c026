//! What must hold between the settings, and what is allowed but should be known.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

use ipnet::IpNet;

use super::loader::Environment;
use super::problem::{Problem, ProblemKind};
use super::reference::{self, SERVER};
use super::said::SettingOrigin;
use super::{Config, ConfigError, ListenAddress, Mode, Netrc, RouteSection, SUM_GOLANG_ORG, SumdbSection};
use crate::module::PathPatterns;
use crate::note::KeyName;
use crate::route::{Checksum, Choice, RouteError};
use crate::source::{ServerUrl, SourceList, SourceUrl};

/// A network of proxies with more addresses holds machines that are no proxies: load balancers come
/// in pairs, or a few in a row.
const PROXY_ADDRESSES_MAX: u32 = 16;

/// Everything wrong between the settings, in the order of the file.
pub(super) fn problems(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut wrong = |place: &SettingOrigin, key: &str, why: String, fix: &str| {
        let kind = ProblemKind::Value { key: key.to_owned(), why, fix: fix.to_owned() };
        problems.push(Problem { place: place.clone(), kind });
    };
    if let Some(name) = &*config.name {
        if let Err(error) = name.parse::<KeyName>() {
            wrong(
                &config.name.origin,
                "name",
                format!("is no name of a log: {error}"),
                "use the host name of the server, as in sum.corp.example",
            );
        } else if name == SUM_GOLANG_ORG || config.sumdbs.contains_key(name) {
            wrong(
                &config.name.origin,
                "name",
                "is the name of a remote checksum database".to_owned(),
                "give this log a name of its own",
            );
        }
    }
    if *config.listen == *config.metrics_listen && config.listen.port() != 0 {
        wrong(
            &config.metrics_listen.origin,
            "metrics_listen",
            "is the same address as `listen`".to_owned(),
            "give it another port",
        );
    }
    if config.url.as_ref().is_some_and(|url| url.has_credentials() || url.has_query()) {
        wrong(
            &config.url.origin,
            "url",
            "holds credentials or a query, and every client would see them".to_owned(),
            "leave them out",
        );
    }
    if *config.witnesses.required && (*config.witnesses.quorum == 0 || config.witnesses.all.is_empty()) {
        wrong(
            &config.witnesses.required.origin,
            "witnesses.required",
            "demands cosignatures, and none are enough".to_owned(),
            "name witnesses in [[witness]], and set witnesses.quorum to how many must have cosigned",
        );
    }
    if *config.witnesses.required && *config.witnesses.timeout >= *config.limits.deadline {
        wrong(
            &config.witnesses.timeout.origin,
            "witnesses.timeout_seconds",
            "is not below limits.deadline_seconds, so that who waits for a head would never be told why"
                .to_owned(),
            "make it shorter",
        );
    }
    problems.extend(config.sumdbs.iter().flat_map(|(name, sumdb)| sumdb_problems(config, name, sumdb)));
    for (i, section) in config.routes.iter().enumerate() {
        let kinds = route_problems(config, i, section);
        problems.extend(kinds.into_iter().map(|kind| Problem { place: section.origin.clone(), kind }));
        problems.extend(useless_netrc(i, section));
    }
    problems
}

/// Only version control has a use for logins in a file.
fn useless_netrc(index: usize, section: &RouteSection) -> Option<Problem> {
    if section.netrc.is_none() || section.route.source.as_ref().is_some_and(SourceList::has_direct) {
        return None;
    }
    let key = format!("route.{}.netrc", index + 1);
    let why = "is for \"direct\" alone, which the route's `source` does not name".to_owned();
    let fix = "remove it, and write a proxy's login into its URL in `source`: https://user:password@host"
        .to_owned();
    Some(Problem { place: section.netrc.origin.clone(), kind: ProblemKind::Value { key, why, fix } })
}

fn sumdb_problems(config: &Config, name: &str, sumdb: &SumdbSection) -> Vec<Problem> {
    let mut problems = Vec::new();
    if name == "compute" {
        let why = "is the word for hashing the source, so that no route could name it".to_owned();
        let kind = ProblemKind::Value { key: "sumdb.compute".to_owned(), why, fix: "remove it".to_owned() };
        problems.push(Problem { place: sumdb.key.origin.clone(), kind });
    }
    // The built-in URL is wrong only together with a name that is told above.
    let is_set = !sumdb.urls.is_by_default();
    let servers = sumdb.urls.iter().filter_map(SourceUrl::server);
    let back = servers.filter(|url| is_set && leads_back(url, config));
    problems.extend(back.map(|url| loop_problem(format!("sumdb.{name}.urls"), url, &sumdb.urls.origin)));
    problems
}

fn route_problems(config: &Config, index: usize, section: &RouteSection) -> Vec<ProblemKind> {
    let RouteSection { route, patterns, origin, .. } = section;
    let number = index + 1;
    let mut kinds = Vec::new();
    match route.sumdb().map(|name| (name, config.sumdbs.get(name))) {
        Some((name, None)) => {
            let known = config.sumdbs.keys().cloned().collect();
            kinds.push(ProblemKind::UnknownSumdb { route: number, name: name.to_owned(), known });
        }
        Some((name, Some(sumdb))) if *sumdb.mode == Mode::Heads => kinds.push(ProblemKind::Value {
            key: format!("route.{number}.checksum"),
            why: format!("takes lines from \"{name}\", whose mode \"heads\" keeps no records"),
            fix: format!("set mode = \"on-demand\" in [sumdb.\"{name}\"]"),
        }),
        _ => {}
    }
    match route.check(number) {
        Ok(()) => {}
        Err(RouteError::NoSource { .. }) => kinds.push(ProblemKind::Value {
            key: format!("route.{number}.source"),
            why: "is missing, and checksum = \"compute\" has nothing to hash without it".to_owned(),
            fix: "add source = [\"https://goproxy.corp.example\"], or \"direct\" for version control"
                .to_owned(),
        }),
        Err(RouteError::DirectNeedsHost { .. }) => {
            let wildcard = |pattern: &&String| !PathPatterns::parse(pattern).has_literal_host();
            let pattern = patterns.iter().find(wildcard).cloned().unwrap_or_default();
            kinds.push(ProblemKind::DirectNeedsHost { route: number, pattern });
        }
    }
    let back = route.source.iter().flat_map(SourceList::servers).filter(|url| leads_back(url, config));
    kinds.extend(back.map(|url| loop_problem(format!("route.{number}.source"), url, origin).kind));
    kinds.extend(patterns.iter().filter_map(|pattern| unreachable(config, index, pattern)));
    kinds
}

/// Finds the earlier route that takes everything that a pattern of route `index` is for.
fn unreachable(config: &Config, index: usize, pattern: &str) -> Option<ProblemKind> {
    let samples = samples(pattern);
    let covers = |earlier: &RouteSection| samples.iter().all(|path| earlier.route.modules.matches(path));
    let earlier = config.routes[..index].iter().position(covers)?;
    let leak = match (&config.routes[earlier].route.checksum, &config.routes[index].route.checksum) {
        (Checksum::Sumdb(_), Checksum::Compute) => {
            ", so that these private paths would be sent to a public database"
        }
        _ => "",
    };
    let pattern = pattern.to_owned();
    Some(ProblemKind::Unreachable { route: index + 1, pattern, earlier: earlier + 1, leak })
}

/// Two module paths that `pattern` matches and that have nothing else in common: an earlier route
/// that matches both matches all, or so much that the later one is a mistake.
fn samples(pattern: &str) -> [String; 2] {
    ["qj7", "x0-w"].map(|filler| {
        let mut path = String::new();
        let mut rest = pattern.chars();
        while let Some(c) = rest.next() {
            match c {
                '*' => path.push_str(filler),
                '?' => path.extend(filler.chars().next()),
                '[' => path.extend(rest.by_ref().take_while(|c| *c != ']').find(|c| c.is_alphanumeric())),
                '\\' => path.extend(rest.next()),
                c => path.push(c),
            }
        }
        path
    })
}

/// Whether a request to `url` would come back to this server.
pub(super) fn leads_back(url: &ServerUrl, config: &Config) -> bool {
    let host = url.host().to_string();
    let is_own = match &*config.url {
        Some(own) => own.host() == url.host() && own.port() == url.port() && is_below(own, url),
        // Most logs are named after their host; one that is not says so with `url`.
        None => config.name.as_deref().is_some_and(|name| name.eq_ignore_ascii_case(&host)),
    };
    if is_own {
        return true;
    }
    let listen = &*config.listen;
    listen.port() == url.port()
        && match url.literal_ip() {
            Some(_) if host == "localhost" => [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
                .iter()
                .any(|ip| listen.is_reached_at(*ip)),
            Some(ip) => listen.is_reached_at(ip),
            None => {
                matches!(listen, ListenAddress::Named { host: own, .. } if own.eq_ignore_ascii_case(&host))
            }
        }
}

/// Whether the path of `url` is that of `own` or below it.
fn is_below(own: &ServerUrl, url: &ServerUrl) -> bool {
    let rest = url.path().strip_prefix(own.path());
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn loop_problem(key: String, url: &ServerUrl, place: &SettingOrigin) -> Problem {
    let why = format!("leads back to this server ({url}), so that a miss would ask itself");
    let fix =
        "name the server that the modules or lines come from; if that is this one, set `url` to the address \
               that clients of this log use"
            .to_owned();
    Problem { place: place.clone(), kind: ProblemKind::Value { key, why, fix } }
}

/// What is allowed but should be known.
pub(super) fn notices(config: &Config, environment: &Environment) -> Vec<String> {
    let mut notices = Vec::new();
    if config.anchor.starts_with(&*config.data) {
        notices.push(format!(
            "the anchor {anchor} lies beside the data that it protects: restored or copied together \
             with them, it protects against nothing. Stop the server, move {anchor} and, if it \
             exists, {anchor}.stops to another disk, and set `anchor` to the new path.",
            anchor = config.anchor.display()
        ));
    }
    if !config.listen.is_local() && config.tls.files().is_none() {
        notices.push(format!(
            "{} is open to other machines without TLS: the names of private modules travel in the clear, and the \
             go command sends credentials over https only. Set [tls], or put a TLS proxy in front.",
            *config.listen
        ));
    }
    notices.extend(config.trusted_proxies.iter().filter(|network| is_wide(network)).map(|network| {
        format!(
            "trusted_proxies holds the network {network}: every machine in it is believed when it names another client \
             in X-Forwarded-For, and so evades the limits of a client. Name each proxy by its own address, as in \
             trusted_proxies = [\"10.0.0.9\"]."
        )
    }));
    let anything = samples("*");
    if !config.routes.is_empty() && !anything.iter().all(|path| config.route(path) != Choice::NoRoute) {
        notices.push(
            "module paths that no route matches are answered 404, which fails the build. End with a route for \"*\"."
                .to_owned(),
        );
    }
    notices.extend(environment.names().filter_map(mistyped_variable));
    notices
}

/// Whether a network of proxies covers more than [`PROXY_ADDRESSES_MAX`] addresses.
fn is_wide(network: &IpNet) -> bool {
    let host_bits = u32::from(network.max_prefix_len() - network.prefix_len());
    host_bits > PROXY_ADDRESSES_MAX.ilog2()
}

/// A variable that looks like one of ours with a typing error. Others may start with TALLYSTICK_
/// too: Kubernetes sets TALLYSTICK_PORT and more beside a service of that name.
fn mistyped_variable(name: &str) -> Option<String> {
    let rest = name.strip_prefix("TALLYSTICK_")?;
    let known: Vec<String> = SERVER.keys.iter().filter_map(reference::Key::variable).collect();
    if rest == "CONFIG" || known.iter().any(|known| known == name) {
        return None;
    }
    let (distance, near) =
        known.iter().map(|known| (strsim::damerau_levenshtein(name, known), known)).min()?;
    (distance <= 2).then(|| format!("the environment variable {name} is not read; did you mean {near}?"))
}

impl Config {
    /// Files and directories that a server needs and that cannot be opened. Apart from
    /// [`Config::load`], because `env` and `key` must work for users who may not read the server's
    /// private files.
    pub fn missing_files(&self) -> Vec<Problem> {
        let named = [
            ("tls.cert", &self.tls.cert),
            ("tls.key", &self.tls.key),
            ("roots", &self.roots),
            ("git_config", &self.git_config),
        ];
        let mut problems: Vec<Problem> = named
            .into_iter()
            .filter_map(|(key, said)| missing(key, said.as_deref()?, said.origin.clone()))
            .collect();
        // The data directory is made by `serve`, the anchor's is where another disk should be.
        let anchor = self.anchor.parent().filter(|parent| !parent.as_os_str().is_empty());
        if !self.anchor.starts_with(&*self.data) {
            problems.extend(anchor.and_then(|path| missing("anchor", path, self.anchor.origin.clone())));
        }
        for (name, sumdb) in &self.sumdbs {
            let secret = &sumdb.hook_secret_file;
            let key = format!("sumdb.{name}.hook_secret_file");
            problems.extend(secret.as_deref().and_then(|path| missing(&key, path, secret.origin.clone())));
        }
        problems
            .extend(self.routes.iter().enumerate().filter_map(|(i, section)| read_netrc(i, section).err()));
        problems
    }

    /// Directories that modules or records are read from and that cannot be opened. A server starts
    /// without them: the next one of a list may have what is asked for, and a file system may come
    /// back. Where a checksum database gives the lines, a source only saves time, so that a missing
    /// one is no fault.
    pub fn missing_sources(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (name, sumdb) in &self.sumdbs {
            let key = format!("sumdb.{name}.urls");
            let directories = sumdb.urls.iter().filter_map(SourceUrl::local_path);
            problems.extend(directories.filter_map(|path| missing(&key, path, sumdb.urls.origin.clone())));
        }
        let is_hashed = |section: &&RouteSection| section.route.checksum == Checksum::Compute;
        let numbered = self.routes.iter().enumerate();
        for (i, section) in numbered.filter(|(_, section)| is_hashed(section)) {
            let key = format!("route.{}.source", i + 1);
            let directories = section.route.source.iter().flat_map(SourceList::directories);
            problems.extend(directories.filter_map(|path| missing(&key, path, section.origin.clone())));
        }
        problems
    }

    /// Reads the logins of route `index`, counted from 0.
    pub(crate) fn netrc(&self, index: usize) -> Result<Option<Netrc>, ConfigError> {
        Ok(read_netrc(index, &self.routes[index])?)
    }
}

fn read_netrc(index: usize, section: &RouteSection) -> Result<Option<Netrc>, Problem> {
    let Some(path) = &*section.netrc else { return Ok(None) };
    Netrc::read(path).map(Some).map_err(|error| {
        let key = format!("route.{}.netrc", index + 1);
        let (why, fix) = (format!("cannot be used: {error}"), error.fix());
        Problem { place: section.netrc.origin.clone(), kind: ProblemKind::Value { key, why, fix } }
    })
}

fn missing(key: &str, path: &Path, place: SettingOrigin) -> Option<Problem> {
    let error = std::fs::File::open(path).err()?;
    let why = format!("names {}, which cannot be read: {error}", path.display());
    let fix = "create it, make it readable for this user, or correct the path".to_owned();
    Some(Problem { place, kind: ProblemKind::Value { key: key.to_owned(), why, fix } })
}
