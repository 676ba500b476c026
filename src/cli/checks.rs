//! What `serve` refuses to start from, and what it warns of: one list, which `config check` shows
//! before anybody starts a server, and which a reload goes through before it changes anything.
//!
//! | found | `config check` | `serve`, reload |
//! |---|---|---|
//! | a refusal: a file that cannot be read, a secret that others can read, a directory that cannot be written | exit 2 | exit 2 |
//! | a fault: something is missing without which some modules cannot be had | exit 2 | a warning |
//! | a warning: allowed, but should be known | a warning | a warning |

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::engines::{http_client, read_git_config, redirect_rules};
use super::founding::{self, NewLog};
use super::output;
use crate::clock::Clock;
use crate::config::{Config, ConfigError, Problem, ProblemKind, Secret, SettingOrigin};
use crate::http::listener::check_address;
use crate::http::tls::{TlsError, TlsPair};
use crate::route::Checksum;
use crate::source::SourceList;
use crate::store::lock::refuse_network_file_system;

/// A certificate that expires within this time is warned of: renewal tools renew after two thirds
/// of 90 days.
const EXPIRES_SOON: Duration = Duration::from_secs(30 * 24 * 3600);

/// What was found.
#[derive(Default)]
pub(super) struct CheckedConfig {
    refusals: Vec<Problem>,
    faults: Vec<Problem>,
    warnings: Vec<String>,
}

impl CheckedConfig {
    /// Refuses what a server refuses. Returns what it warns of.
    pub(super) fn or_refuse(self) -> Result<Vec<String>, ConfigError> {
        if !self.refusals.is_empty() {
            return Err(ConfigError::of(self.refusals));
        }
        let faults = self.faults.into_iter().map(|fault| ConfigError::of(vec![fault]).to_string());
        Ok(faults.chain(self.warnings).collect())
    }

    /// Refuses faults as well. Returns the warnings.
    pub(super) fn or_refuse_faults(mut self) -> Result<Vec<String>, ConfigError> {
        self.refusals.append(&mut self.faults);
        self.or_refuse()
    }

    /// Adds what is wrong with what a key names. An error may bring its own fix.
    fn refuse(&mut self, place: &SettingOrigin, key: &str, error: &str, fix: &str) {
        let error = error.strip_prefix(&format!("{key}: ")).unwrap_or(error);
        let (why, fix) = error.split_once("\n  fix: ").unwrap_or((error, fix));
        let (key, why, fix) = (key.to_owned(), why.to_owned(), fix.to_owned());
        self.refusals.push(Problem { place: place.clone(), kind: ProblemKind::Unusable { key, why, fix } });
    }

    fn is_refused(&self, key: &str) -> bool {
        self.refusals.iter().any(|problem| match &problem.kind {
            ProblemKind::Unusable { key: refused, .. } | ProblemKind::Value { key: refused, .. } => {
                refused == key
            }
            _ => false,
        })
    }
}

/// Tries everything that a server needs and that can be tried without one.
pub(super) fn check(config: &Config, clock: &Clock) -> CheckedConfig {
    let mut checked = CheckedConfig { refusals: config.missing_files(), ..CheckedConfig::default() };
    for (key, said) in [("listen", &config.listen), ("metrics_listen", &config.metrics_listen)] {
        if let Err(error) = check_address(said) {
            checked.refuse(&said.origin, key, &error.to_string(), "choose another address or port");
        }
    }
    check_outgoing(config, clock, &mut checked);
    check_tls(config, clock, &mut checked);
    check_secrets(config, &mut checked);
    check_disks(config, &mut checked);
    checked.faults.extend(config.missing_sources());
    checked.faults.extend(missing_programs(config, std::env::var_os("PATH").as_deref()));
    checked
}

/// Refuses key, log and anchor that `serve` would refuse.
pub(super) fn check_founding(config: &Config) -> anyhow::Result<()> {
    match founding::check(config, NewLog::default())? {
        Some(_) => Ok(()),
        None => founding::check_first_start(config),
    }
}

/// Redirects, root certificates and Git configuration.
fn check_outgoing(config: &Config, clock: &Clock, checked: &mut CheckedConfig) {
    if let Err(error) = redirect_rules(config) {
        let private = "redirects.private_sources";
        let text = format!("{error:#}");
        let (key, said) = match text.starts_with(private) {
            true => (private, &config.redirects.private_sources),
            false => ("redirects.hosts", &config.redirects.hosts),
        };
        checked.refuse(&said.origin, key, &text, "write each as host, host:port or *.domain");
    } else if !checked.is_refused("roots")
        && let Err(error) = http_client(config, clock)
    {
        let fix = "name a PEM file of certificates, or unset the variable that the error names";
        checked.refuse(&config.roots.origin, "roots", &format!("{error:#}"), fix);
    }
    if let Some(path) = config.git_config.as_deref().filter(|_| !checked.is_refused("git_config"))
        && let Err(error) = read_git_config(path)
    {
        let fix = "make it a readable text file";
        checked.refuse(&config.git_config.origin, "git_config", &format!("{error:#}"), fix);
    }
}

fn check_tls(config: &Config, clock: &Clock, checked: &mut CheckedConfig) {
    let Some(files) = config.tls.files() else { return };
    if checked.is_refused("tls.cert") || checked.is_refused("tls.key") {
        return;
    }
    match TlsPair::read(&files.cert, &files.key) {
        Ok(pair) => checked.warnings.extend(validity_warning(&pair, clock)),
        Err(error) => {
            let is_of_key = matches!(
                error,
                TlsError::Exposed { .. }
                    | TlsError::Unreadable { role: "key", .. }
                    | TlsError::TooLong { role: "key", .. }
                    | TlsError::NotPem { role: "key", .. }
                    | TlsError::Missing { role: "key", .. }
            );
            let (key, origin) = match is_of_key {
                true => ("tls.key", &config.tls.key.origin),
                false => ("tls.cert", &config.tls.cert.origin),
            };
            let fix = "put the certificate chain (leaf first) and its private key there, both in PEM form";
            checked.refuse(origin, key, &error.to_string(), fix);
        }
    }
}

/// Says that clients refuse this certificate, or will soon.
pub(super) fn validity_warning(pair: &TlsPair, clock: &Clock) -> Option<String> {
    let (validity, now) = (pair.validity()?, clock.now());
    let path = pair.cert().display();
    let fix =
        "renew it; a server that runs takes the new files by itself, or at once with `tallystick reload`";
    if now < validity.not_before {
        return Some(format!(
            "the certificate in {path} is valid from {} on, and clients refuse it until then\n  fix: correct the clock \
             of this machine, or put a certificate there that is valid now",
            output::time(validity.not_before)
        ));
    }
    if now > validity.not_after {
        let at = output::time(validity.not_after);
        return Some(format!(
            "the certificate in {path} expired at {at}, and clients refuse it\n  fix: {fix}"
        ));
    }
    let left = Duration::try_from(validity.not_after.duration_since(now)).unwrap_or_default();
    (left < EXPIRES_SOON).then(|| {
        let (at, days) = (output::time(validity.not_after), left.as_secs() / (24 * 3600));
        let days = if days == 1 { "1 day".to_owned() } else { format!("{days} days") };
        format!("the certificate in {path} expires in {days}, at {at}\n  fix: {fix}")
    })
}

/// The secrets of the hooks.
fn check_secrets(config: &Config, checked: &mut CheckedConfig) {
    for (name, sumdb) in config.mirrored() {
        let (key, said) = (format!("sumdb.{name}.hook_secret_file"), &sumdb.hook_secret_file);
        if let Some(path) = said.as_deref().filter(|_| !checked.is_refused(&key))
            && let Err(error) = Secret::read(path)
        {
            checked.refuse(&said.origin, &key, &error.to_string(), "");
        }
    }
}

/// Whether data and anchor can be written, and on which disks they are.
fn check_disks(config: &Config, checked: &mut CheckedConfig) {
    let data = existing(&config.data);
    let fix = "make it writable for the user that runs the server, or set the key to another path";
    if !data.is_dir() {
        let why = format!("{} is not a directory", data.display());
        let fix = "move what is there away, or set `data` to the path of a directory";
        checked.refuse(&config.data.origin, "data", &why, fix);
    } else if let Some(why) = unwritable(&data) {
        checked.refuse(&config.data.origin, "data", &why, fix);
    } else if let Err(error) = refuse_network_file_system(&data) {
        checked.refuse(&config.data.origin, "data", &error.to_string(), "set `data` to a local disk");
    }
    let directory = match config.anchor.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if config.anchor.starts_with(&*config.data) || checked.is_refused("anchor") {
        return;
    }
    let in_the_way = fs::metadata(&*config.anchor).ok().filter(|found| !found.is_file());
    if in_the_way.is_some() {
        let why = format!("{} is not a file", config.anchor.display());
        checked.refuse(&config.anchor.origin, "anchor", &why, "name a file, which the server makes");
    } else if let Some(why) = unwritable(directory) {
        checked.refuse(&config.anchor.origin, "anchor", &why, fix);
    } else if device(directory).is_some_and(|anchor| device(&data) == Some(anchor)) {
        checked.warnings.push(format!(
            "the anchor {} is on the same disk as the data in {}: restored or lost together with it, it protects \
             against nothing\n  fix: stop the server, move the anchor and the file beside it that ends in .stops to \
             another disk, and set `anchor` to the new path",
            config.anchor.display(),
            config.data.display()
        ));
    }
}

/// The directory itself, or the nearest one above it that exists: the server makes the others.
fn existing(directory: &Path) -> PathBuf {
    let above =
        directory.ancestors().map(|path| if path.as_os_str().is_empty() { Path::new(".") } else { path });
    above.into_iter().find(|path| path.exists()).unwrap_or(Path::new("/")).to_owned()
}

/// Why nothing can be written to a directory. A full disk does not count: the log is read-only
/// until there is space.
fn unwritable(directory: &Path) -> Option<String> {
    let error = tempfile::tempfile_in(directory).err()?;
    let passes = matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
    // The error of the temporary file names its path, of which nobody has heard.
    let cause = error.raw_os_error().map_or(error, std::io::Error::from_raw_os_error);
    (!passes).then(|| format!("{} cannot be written: {cause}", directory.display()))
}

fn device(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|found| found.dev())
}

/// The programs that routes need and that are not in `path`.
fn missing_programs(config: &Config, path: Option<&OsStr>) -> Vec<Problem> {
    let needs = |route: &&crate::config::RouteSection| {
        let source = route.route.source.as_ref();
        route.route.checksum == Checksum::Compute && source.is_some_and(SourceList::has_direct)
    };
    let numbered = config.routes.iter().enumerate().map(|(i, route)| (i + 1, route));
    let Some((number, route)) = numbered.into_iter().find(|(_, route)| needs(route)) else {
        return Vec::new();
    };
    let missing = |program: &&str| {
        !std::env::split_paths(path.unwrap_or_default()).any(|d| is_program(&d.join(program)))
    };
    let shown = path.unwrap_or_default().to_string_lossy().into_owned();
    let problem = |program| Problem {
        place: route.origin.clone(),
        kind: ProblemKind::Unusable {
            key: format!("route.{number}.source"),
            why: format!(
                "\"direct\" needs the program {program}, which is in no directory of PATH ({shown})"
            ),
            fix: format!(
                "install {program}, or add its directory to the PATH of the server (in a systemd unit: Environment=PATH=…)"
            ),
        },
    };
    ["go", "git"].into_iter().filter(|program| missing(program)).map(problem).collect()
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}
