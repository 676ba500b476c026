//! A configuration out of the `go` command's own settings, for `serve` without one.
//!
//! | setting | becomes |
//! |---|---|
//! | `GOPRIVATE`, `GONOSUMDB` | a first route: these patterns from `direct`, computed; never sent to anyone else |
//! | `GOPROXY` | the source of everything else, and for each proxy a passthrough `<proxy>/sumdb/sum.golang.org`; `https://` is assumed where a scheme is missing |
//! | `GOSUMDB` | another address of sum.golang.org, where it names one |
//!
//! The environment counts first, then `go env` (which also reads the file of `go env -w`).

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::check::{self, leads_back};
use super::loader::Environment;
use super::patterns::DeadPattern;
use super::problem::{ConfigError, Problem, ProblemKind};
use super::said::{Said, SettingOrigin};
use super::{Config, Mode, RouteSection, SUM_GOLANG_ORG, SumdbSection};
use crate::module::PathPatterns;
use crate::route::{Checksum, Route};
use crate::source::{ListedSource, ModuleSource, ServerUrl, SourceError, SourceList, SourceUrl};

/// `go env` answers in milliseconds; a broken installation must not hang the start.
const GO_ENV_DEADLINE: Duration = Duration::from_secs(10);

/// More than `go env` ever prints for these variables.
const GO_ENV_BYTES: u64 = 256 * 1024;

/// The variables that decide where modules come from and which of them are verified, and where it
/// is kept what was.
const VARIABLES: [&str; 9] = [
    "GOPROXY",
    "GOPRIVATE",
    "GONOSUMDB",
    "GONOPROXY",
    "GOSUMDB",
    "GOFLAGS",
    "GOINSECURE",
    "GOPATH",
    "GOMODCACHE",
];

/// One variable of the `go` command and who set it. Debug does not show the value.
#[derive(Clone, PartialEq, Eq)]
pub struct Setting {
    /// The value, never empty. It may hold credentials.
    pub value: String,
    /// The environment, or `go env`.
    pub origin: SettingOrigin,
}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setting").field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// What the `go` command would use in this environment.
#[derive(Clone, Debug, Default)]
pub struct GoEnvironment {
    settings: BTreeMap<&'static str, Setting>,
    /// Why `go env` gave nothing, where it did not.
    pub failure: Option<String>,
}

impl GoEnvironment {
    /// From the environment alone.
    pub fn of(environment: &Environment) -> GoEnvironment {
        let setting = |name: &'static str| {
            let value = environment.var(name)?.to_owned();
            Some((name, Setting { value, origin: SettingOrigin::Environment(name.to_owned()) }))
        };
        GoEnvironment { settings: VARIABLES.into_iter().filter_map(setting).collect(), failure: None }
    }

    /// From the environment, and where that says nothing from `go env`, if there is a `go` command.
    pub fn read(environment: &Environment) -> GoEnvironment {
        let mut go = GoEnvironment::of(environment);
        match run_go_env() {
            Ok(answers) => {
                for name in VARIABLES {
                    let Some(value) = answers.get(name).filter(|value| !value.is_empty()) else { continue };
                    let origin = SettingOrigin::GoEnv(name.to_owned());
                    go.settings.entry(name).or_insert_with(|| Setting { value: value.clone(), origin });
                }
            }
            Err(why) => go.failure = Some(why),
        }
        go
    }

    /// The setting of one of the variables, if it is not empty.
    pub fn var(&self, name: &str) -> Option<&Setting> {
        self.settings.get(name)
    }
}

fn run_go_env() -> Result<BTreeMap<String, String>, String> {
    let mut child = Command::new("go")
        .args(["env", "-json"])
        .args(VARIABLES)
        // A go.mod in the working directory must not make `go env` download another toolchain.
        .env("GOTOOLCHAIN", "local")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("the go command cannot be run: {error}"))?;
    let output = bounded_output(&mut child, GO_ENV_DEADLINE);
    // Killing what has already ended is harmless, and what has not must not stay behind.
    let _ = child.kill();
    let _ = child.wait();
    let output = output.ok_or("`go env` did not answer in time")?;
    serde_json::from_slice(&output).map_err(|error| format!("`go env -json` answered no JSON: {error}"))
}

fn bounded_output(child: &mut Child, deadline: Duration) -> Option<Vec<u8>> {
    let stdout = child.stdout.take()?;
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut output = Vec::new();
        let read = stdout.take(GO_ENV_BYTES).read_to_end(&mut output);
        // The receiver is gone after the deadline, and then nobody wants the output.
        let _ = sender.send(read.map(|_| output));
    });
    receiver.recv_timeout(deadline).ok()?.ok()
}

impl Config {
    /// Fills in routes from the `go` command's settings where the configuration has none; otherwise
    /// changes nothing. Where only the heads of sum.golang.org are wanted, nothing can take lines
    /// from it, so public modules get no route.
    pub fn discover(&mut self, go: &GoEnvironment) -> Result<(), ConfigError> {
        if !self.routes.is_empty() {
            return Ok(());
        }
        let private = private_route(go)?;
        let (source, origin) = public_source(self, go)?;
        self.discover_sumdb(go, source.as_ref(), &origin);
        self.notices.extend(public_notices(go, source.as_ref()));
        self.routes.extend(private);
        if self.sumdbs[SUM_GOLANG_ORG].mode.value == Mode::Heads {
            self.notices.push(format!(
                "only the heads of {SUM_GOLANG_ORG} are kept (mode = \"heads\"), so nothing vouches for public modules: they are \
                 answered 404. Set its mode to \"on-demand\", or write a [[route]] for them."
            ));
        } else {
            let checksum = Checksum::Sumdb(SUM_GOLANG_ORG.to_owned());
            self.routes.push(RouteSection {
                route: Route { modules: PathPatterns::parse("*"), source, checksum },
                patterns: vec!["*".to_owned()],
                netrc: Said::by_default(None),
                origin,
            });
        }
        match check::problems(self) {
            problems if problems.is_empty() => Ok(()),
            problems => Err(ConfigError::of(problems)),
        }
    }

    /// Adds a route for what GOPRIVATE and GONOSUMDB name where the configuration has no routes:
    /// for commands that fetch nothing and must only know which paths are nobody else's business.
    pub fn discover_private(&mut self, go: &GoEnvironment) {
        if !self.routes.is_empty() {
            return;
        }
        let (patterns, origin) = private_patterns(go);
        let modules = PathPatterns::parse(&patterns.join(","));
        let route = Route { modules, source: None, checksum: Checksum::Compute };
        self.routes.extend(origin.map(|origin| RouteSection {
            route,
            patterns,
            netrc: Said::by_default(None),
            origin,
        }));
    }

    /// Passthroughs first: where a proxy is configured the way to the public database is often
    /// closed.
    fn discover_sumdb(&mut self, go: &GoEnvironment, source: Option<&SourceList>, origin: &SettingOrigin) {
        // The address that our own clients have in their GOSUMDB would make us ask ourselves.
        let other = go.var("GOSUMDB").and_then(|setting| other_address(&setting.value));
        let other = other.filter(|url| !leads_back(url, self));
        let sumdb = self.sumdbs.entry(SUM_GOLANG_ORG.to_owned()).or_insert_with(SumdbSection::sum_golang_org);
        let proxies = source.into_iter().flat_map(|source| source.passthroughs_of(SUM_GOLANG_ORG));
        sumdb.ask_first(proxies.chain(other.map(SourceUrl::Server)), origin);
    }
}

/// The route for what GOPRIVATE and GONOSUMDB name. Both must stay out of the public database.
fn private_route(go: &GoEnvironment) -> Result<Option<RouteSection>, ConfigError> {
    let (patterns, origin) = private_patterns(go);
    let Some(origin) = origin else { return Ok(None) };
    let modules = PathPatterns::parse(&patterns.join(","));
    let dead = patterns.iter().find_map(|pattern| Some((pattern, DeadPattern::of(pattern)?)));
    if let Some((pattern, dead)) = dead {
        let cause = format!(
            "`{pattern}` in GOPRIVATE or GONOSUMDB {}, so that it protects nothing and the names that it is for go to the \
             public route",
            dead.why
        );
        let fix = format!("{} there; the go command ignores such a pattern, too", dead.advice());
        return Err(go_problem(&origin, cause, fix));
    }
    let wild = patterns.iter().find(|pattern| !PathPatterns::parse(pattern).has_literal_host());
    if let Some(pattern) = wild {
        let cause = format!(
            "`{pattern}` in GOPRIVATE or GONOSUMDB has a wildcard in its host: taken from version control, whoever asks \
             would choose the host that this server connects to"
        );
        let fix = format!(
            "name each host literally (GOPRIVATE=git.corp.example), or write a configuration in which these modules come \
             from a module proxy:\n{}",
            sample_route(&format!("[\"{pattern}\"]"), "https://goproxy.corp.example")
        );
        return Err(go_problem(&origin, cause, fix));
    }
    let source = Some(SourceList::direct());
    let route = Route { modules, source, checksum: Checksum::Compute };
    Ok(Some(RouteSection { route, patterns, netrc: Said::by_default(None), origin }))
}

/// The patterns of GOPRIVATE and GONOSUMDB, and who set the first of them.
fn private_patterns(go: &GoEnvironment) -> (Vec<String>, Option<SettingOrigin>) {
    let mut patterns: Vec<String> = Vec::new();
    let mut origin = None;
    for name in ["GOPRIVATE", "GONOSUMDB"] {
        let Some(setting) = go.var(name) else { continue };
        let listed = setting.value.split(',').map(|pattern| pattern.trim().trim_end_matches('/'));
        for pattern in listed.filter(|pattern| !pattern.is_empty() && *pattern != "none") {
            if !patterns.iter().any(|known| known == pattern) {
                patterns.push(pattern.to_owned());
                origin.get_or_insert_with(|| setting.origin.clone());
            }
        }
    }
    (patterns, origin)
}

/// The source of everything else; `direct` is left out, because no host is literal there.
fn public_source(
    config: &Config,
    go: &GoEnvironment,
) -> Result<(Option<SourceList>, SettingOrigin), ConfigError> {
    let Some(setting) = go.var("GOPROXY") else { return Ok((None, SettingOrigin::Default)) };
    let origin = setting.origin.clone();
    let list = SourceList::parse_goproxy(&setting.value).map_err(|error| match error {
        SourceError::Off => go_problem(
            &origin,
            "GOPROXY is \"off\", which forbids every source: no module could be looked up or fetched".to_owned(),
            "set GOPROXY to your module proxy for this server, or write a configuration with [[route]] and start with --config"
                .to_owned(),
        ),
        error => go_problem(&origin, format!("GOPROXY {error}"), "correct it with `go env -w GOPROXY=…`".to_owned()),
    })?;
    if let Some(url) = list.servers().find(|url| leads_back(url, config)) {
        let cause = format!("GOPROXY leads back to this server ({url}), so that every miss would ask itself");
        let fix = "start the server with the GOPROXY that it shall fetch from (GOPROXY=https://… tallystick serve), \
                   or write a configuration with [[route]]";
        return Err(go_problem(&origin, cause, fix.to_owned()));
    }
    let is_directory =
        |entry: &ListedSource| matches!(entry.source, ModuleSource::Proxy(SourceUrl::Local(_)));
    if list.entries().iter().all(is_directory) {
        let directory = list.to_string();
        let cause = format!(
            "GOPROXY names only a directory ({directory}), so that nothing says which of its modules are private and which \
             are vouched for by {SUM_GOLANG_ORG}"
        );
        let fix = format!(
            "write a configuration, for example\n{}\nand start with --config",
            sample_route("[\"corp.example/*\"]", &directory)
        );
        return Err(go_problem(&origin, cause, fix));
    }
    Ok((list.without_direct(), origin))
}

fn public_notices(go: &GoEnvironment, source: Option<&SourceList>) -> Vec<String> {
    let mut notices = Vec::new();
    if source.is_none() {
        let why = match (go.var("GOPROXY"), &go.failure) {
            (Some(_), _) => "GOPROXY is \"direct\" alone".to_owned(),
            (None, Some(failure)) => format!("GOPROXY is not set ({failure})"),
            (None, None) => "GOPROXY is not set".to_owned(),
        };
        notices.push(format!(
            "{why}: public lines are asked at https://{SUM_GOLANG_ORG} itself, and no module proxy is used. If that host is \
             not reachable from here, set GOPROXY to a proxy that passes /sumdb/{SUM_GOLANG_ORG} through."
        ));
    }
    if go.var("GOSUMDB").is_some_and(|setting| setting.value == "off") {
        notices.push(format!(
            "GOSUMDB is \"off\" here; this server still takes public lines from {SUM_GOLANG_ORG}, since nothing else vouches \
             for them. Clients must set GOSUMDB as `tallystick env` prints it."
        ));
    }
    notices
}

/// The URL in a GOSUMDB that means sum.golang.org at another address (`go help module-auth`).
fn other_address(gosumdb: &str) -> Option<ServerUrl> {
    let mut fields = gosumdb.split_whitespace();
    let name = fields.next()?.split('+').next()?;
    match (name, fields.next()) {
        ("sum.golang.google.cn", None) => "https://sum.golang.google.cn".parse().ok(),
        ("sum.golang.google.cn" | SUM_GOLANG_ORG, Some(url)) => url.parse().ok(),
        _ => None,
    }
}

fn go_problem(origin: &SettingOrigin, cause: String, fix: String) -> ConfigError {
    Problem { place: origin.clone(), kind: ProblemKind::GoEnvironment { cause, fix } }.into()
}

fn sample_route(modules: &str, source: &str) -> String {
    format!(
        "    [[route]]\n    modules  = {modules}\n    source   = [\"{source}\"]\n    checksum = \"compute\""
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_go_command_that_hangs_is_not_waited_for() {
        let mut child = Command::new("sleep").arg("600").stdout(Stdio::piped()).spawn().unwrap();
        assert_eq!(bounded_output(&mut child, Duration::from_millis(1)), None);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn gosumdb_may_name_another_address() {
        let table = [
            ("sum.golang.org", None),
            ("off", None),
            ("sum.corp.example+1c2d3e4f+AZ https://sum.corp.example", None),
            ("sum.golang.google.cn", Some("https://sum.golang.google.cn")),
            ("sum.golang.org https://mirror.example/sum", Some("https://mirror.example/sum")),
            ("sum.golang.org+033de0ae+Ac4zctda0e5eza https://mirror.example", Some("https://mirror.example")),
        ];
        for (text, want) in table {
            assert_eq!(other_address(text).map(|url| url.to_string()).as_deref(), want, "{text}");
        }
    }
}
