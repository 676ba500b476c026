//! Which log a check is against: its key, where it is, what it may be asked, and which of its heads
//! are known here.
//!
//! GOSUMDB is read as the `go` command reads it (`dbDial` in `cmd/go/internal/modfetch`): a
//! verifier key or a known name, and a URL after it, which bypasses GOPROXY.

use std::path::{Component, Path, PathBuf};

use anyhow::{Context, anyhow, bail};

use super::CheckCommand;
use crate::audit::{AuditError, Target};
use crate::check::{Asking, CheckError, CheckVerdict, Finding, HashClaim, HeadMemory};
use crate::cli::audit::key_of;
use crate::cli::exit::{Exit, OrExit, advised};
use crate::cli::output;
use crate::config::{GoEnvironment, SUM_GOLANG_ORG, SUM_GOLANG_ORG_KEY};
use crate::files;
use crate::module::PathPatterns;
use crate::note::VerifierKey;
use crate::source::{SourceList, SourceUrl};
use crate::upstream::{HttpClient, RemoteSumdb};

/// As in x/mod, the largest signed note.
const MAX_NOTE_BYTES: u64 = 1_000_000;
/// Another address of sum.golang.org that the `go` command knows.
const SUM_GOLANG_CN: &str = "sum.golang.google.cn";

/// The log.
pub(super) struct LogSettings {
    /// Who must have signed.
    pub(super) key: VerifierKey,
    /// Where it is asked, in this order; the last is the database itself.
    urls: Vec<SourceUrl>,
}

/// The database that GOSUMDB names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Gosumdb {
    pub(super) key: VerifierKey,
    /// Its own URL, if it has one.
    url: Option<String>,
}

impl LogSettings {
    /// Reads the command line and the `go` command's settings.
    pub(super) fn read(command: &CheckCommand, go: &GoEnvironment) -> anyhow::Result<LogSettings> {
        let value = go.var("GOSUMDB").map_or(SUM_GOLANG_ORG, |setting| &setting.value);
        let gosumdb = gosumdb(value);
        let given = command.key.as_deref().map(key_of).transpose().or_exit(Exit::Usage)?;
        let (key, url) = match (given, gosumdb) {
            (Some(key), Ok(Some(known))) if known.key == key => (key, known.url),
            (Some(key), _) => (key, None),
            (None, Ok(Some(known))) => (known.key, known.url),
            (None, Ok(None)) => {
                let error = anyhow!(
                    "GOSUMDB is \"off\" here, so that nothing says which log to check against\n  fix: give its verifier key with \
                     --key, or set GOSUMDB as `tallystick env` prints it"
                );
                return Err(error).or_exit(Exit::Usage);
            }
            (None, Err(error)) => return Err(error).or_exit(Exit::Usage),
        };
        let urls = match (&command.server, url) {
            (Some(server), _) => vec![server.clone()],
            (None, Some(url)) => {
                // The text may hold a password, so that the error does not quote it.
                let url = SourceUrl::parse(&url).map_err(|error| anyhow!("the URL in GOSUMDB {error}"));
                vec![url.or_exit(Exit::Usage)?]
            }
            (None, None) => own_urls(&key, go).or_exit(Exit::Usage)?,
        };
        Ok(LogSettings { key, urls })
    }

    /// The log as an error names it.
    pub(super) fn shown(&self) -> String {
        let own = self.urls.last().expect("there is at least one URL");
        format!("{} at {own}", self.key.name())
    }

    /// Where the log is read.
    pub(super) fn target(&self, client: HttpClient) -> Target {
        let name = self.key.name().to_string();
        let url = self.urls.last().expect("there is at least one URL").clone();
        Target { remote: RemoteSumdb::new(name, self.urls.clone(), client.clone()), client, url }
    }

    /// Finds out how the server may be asked.
    pub(super) async fn asking(&self, target: &Target, notarize: bool) -> anyhow::Result<Asking> {
        if let Some(directory) = target.url.local_path() {
            if directory.join("lookup").is_dir() {
                return Ok(Asking::Lookups);
            }
            let error = anyhow!(
                "{} has no look-ups\n  fix: name a server of the log with --server; `tallystick audit` checks such a directory",
                directory.display()
            );
            return Err(error).or_exit(Exit::Usage);
        }
        let shown = self.shown();
        let named = match target.named_keys().await {
            Ok(named) => named,
            // A proxy may pass it on all the same, and another server may have no such path.
            Err(error) if self.urls.len() > 1 || (notarize && !error.is_transient()) => None,
            Err(error) => {
                let error = advised(error);
                let exit = Exit::of(&error);
                return Err(anyhow!("{shown} cannot be asked: {error:#}")).or_exit(exit);
            }
        };
        match named {
            Some(keys) if !keys.contains(&self.key.to_string()) => Err(self.other_log(&keys)),
            Some(_) if !notarize => Ok(Asking::Records),
            None if !notarize => Err(anyhow!(
                "{shown} is no Tallystick server: it can be asked by look-ups only, and a look-up of what it does not have makes it \
                 fetch and append the module\n  fix: allow that with --notarize, as every go command does, or name your own log \
                 with --server and --key"
            ))
            .or_exit(Exit::Usage),
            Some(_) | None => Ok(Asking::Lookups),
        }
    }

    /// The error for a server whose log has other keys.
    fn other_log(&self, keys: &[String]) -> anyhow::Error {
        let shown = self.shown();
        let own = self.key.name().as_str();
        let is_same = |key: &String| key.split('+').next() == Some(own);
        let keys_named = output::one_line(&keys.join(", "));
        let (exit, why) = if keys.iter().any(is_same) {
            let why = format!(
                "{shown}: the server names another key under the same name, {keys_named}\n  fix: if the log has a new key, get it from \
                 its operator (`tallystick key show` there), not from the server; else somebody stands between you and the log"
            );
            (Exit::Damage, why)
        } else {
            let why = format!(
                "{shown}: the log of that server has another name, {keys_named}\n  fix: give its key with --key or in GOSUMDB. Get it \
                 from its operator (`tallystick key show` there), not from the server"
            );
            (Exit::Usage, why)
        };
        Err::<(), _>(anyhow!(why)).or_exit(exit).expect_err("it is an error")
    }

    /// Takes out what this log must not be told, and returns what to say about it.
    ///
    /// GONOSUMDB keeps names from every log. GOPRIVATE, its default, keeps them from public ones: a
    /// company's own log is where private modules belong.
    pub(super) fn withhold(
        &self,
        go: &GoEnvironment,
        asking: Asking,
        claims: Vec<HashClaim>,
    ) -> (Vec<HashClaim>, Vec<Finding>) {
        let value =
            |name: &str| go.var(name).map(|setting| setting.value.as_str()).filter(|value| *value != "none");
        let private = value("GOPRIVATE");
        // `go env` shows the default as if it were set.
        let explicit = value("GONOSUMDB").filter(|value| Some(*value) != private);
        let is_public = asking == Asking::Lookups && self.is_server();
        let (name, patterns) = match (go.var("GONOSUMDB"), explicit, private) {
            (_, Some(patterns), _) => ("GONOSUMDB", patterns),
            (Some(setting), None, _) if setting.value == "none" => return (claims, Vec::new()),
            (_, None, Some(patterns)) if is_public => ("GOPRIVATE (the default of GONOSUMDB)", patterns),
            _ => return (claims, Vec::new()),
        };
        let patterns = PathPatterns::parse(patterns);
        let (withheld, told): (Vec<HashClaim>, Vec<HashClaim>) =
            claims.into_iter().partition(|claim| patterns.matches(claim.module.path.as_str()));
        let why = format!(
            "{name} keeps its name from {}\n  fix: check it against the log that has it; for your own log set GONOSUMDB=none",
            self.key.name()
        );
        let finding = |claim: HashClaim| Finding {
            place: claim.place,
            module: Some(claim.module.to_string()),
            verdict: CheckVerdict::NotChecked,
            why: why.clone(),
        };
        (told, withheld.into_iter().map(finding).collect())
    }

    fn is_server(&self) -> bool {
        self.urls.iter().any(|url| url.server().is_some())
    }

    /// Where the newest head seen is kept. Says so where it is nowhere.
    pub(super) fn memory(&self, named: Option<&Path>) -> Option<HeadMemory> {
        let set = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let cache = || set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
        let root = named.map(Path::to_owned).or_else(|| Some(cache()?.join("tallystick/heads")));
        if root.is_none() {
            output::note(
                "neither HOME nor XDG_CACHE_HOME is set, so that no head is remembered and a fork between two runs would go \
                 unnoticed\n  fix: name a directory that lasts with --state",
            );
        }
        Some(HeadMemory::new(&root?, &self.key))
    }

    /// The head that the `go` command keeps of this log.
    pub(super) fn heads_of_go(&self, go: &GoEnvironment) -> Vec<(String, Vec<u8>)> {
        let read = || {
            let gopath = std::env::split_paths(&go.var("GOPATH")?.value).next()?;
            let name = Path::new(self.key.name().as_str());
            // A name leads nowhere but down.
            name.components().all(|part| matches!(part, Component::Normal(_))).then_some(())?;
            let path = gopath.join("pkg/sumdb").join(name).join("latest");
            let note = files::read_regular(&path, MAX_NOTE_BYTES).ok().filter(|note| !note.is_empty())?;
            Some((path.display().to_string(), note))
        };
        read().into_iter().collect()
    }
}

/// Reads a GOSUMDB. There is no database where it is off.
pub(super) fn gosumdb(value: &str) -> anyhow::Result<Option<Gosumdb>> {
    let value = match value {
        SUM_GOLANG_CN => "sum.golang.org https://sum.golang.google.cn",
        value => value,
    };
    if value == "off" {
        return Ok(None);
    }
    let mut words = value.split_whitespace();
    let (Some(first), url, None) = (words.next(), words.next(), words.next()) else {
        bail!("GOSUMDB is neither `<verifier key>` nor `<verifier key> <URL>`");
    };
    let key = if first == SUM_GOLANG_ORG { SUM_GOLANG_ORG_KEY } else { first };
    let key = key.parse().context("the first word of GOSUMDB is no verifier key (name+hash+base64)")?;
    Ok(Some(Gosumdb { key, url: url.map(str::to_owned) }))
}

/// The proxies of GOPROXY, which are asked whether they pass the database on, then its name, as the
/// `go` command does.
fn own_urls(key: &VerifierKey, go: &GoEnvironment) -> anyhow::Result<Vec<SourceUrl>> {
    let name = key.name().as_str();
    let list = go.var("GOPROXY").and_then(|setting| setting.value.parse::<SourceList>().ok());
    let mut urls: Vec<SourceUrl> = list.iter().flat_map(|list| list.passthroughs_of(name)).collect();
    let own = SourceUrl::parse(&format!("https://{name}"));
    urls.push(own.map_err(|_| {
        anyhow!("{name} is no host\n  fix: say where the log is with --server, or in GOSUMDB after the key")
    })?);
    Ok(urls)
}

/// The exit code of an error, and what to do about it.
pub(super) fn advice(error: &CheckError) -> (Exit, String) {
    let (exit, fix) = match error {
        CheckError::Server(AuditError::Unreadable { fix: Some(fix), .. }) => {
            (Exit::Unreachable, fix.advice())
        }
        CheckError::Server(AuditError::Unreadable { may_pass: true, .. }) => (
            Exit::Unreachable,
            "try again; if it stays so, see whether the server runs and can be reached from here",
        ),
        CheckError::Server(_) => (
            Exit::Unreachable,
            "the server's answer above says why; name another address of the log with --server",
        ),
        CheckError::Head { .. } => (
            Exit::Damage,
            "compare --key or GOSUMDB with `tallystick key show` at the log's operator. If the key is right, what answered is not the log",
        ),
        CheckError::Older { .. } => (
            Exit::Unreachable,
            "ask again, or another address of the log with --server. If it stays so, the log was set back: its operator must say why",
        ),
        CheckError::Fork(_) => (
            Exit::Damage,
            "build nothing with what the log says, keep both notes, and give them to the log's operator and to whoever else uses it",
        ),
        CheckError::Unproven { .. } => (
            Exit::Damage,
            "what this server sent is not what the log has signed: ask another address of the log with --server, and tell its operator",
        ),
        CheckError::Memory { .. } => {
            (Exit::Usage, "make it readable and writable, or name another directory with --state")
        }
        CheckError::TooMany { .. } => (Exit::Usage, "check fewer files at a time"),
    };
    (exit, fix.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The forms are those of `go help module-auth` and of `dbDial` in Go 1.26.
    #[test]
    fn gosumdb_is_read_as_go_reads_it() {
        let key: VerifierKey = SUM_GOLANG_ORG_KEY.parse().unwrap();
        let is = |value: &str, url: Option<&str>| {
            let want = Gosumdb { key: key.clone(), url: url.map(str::to_owned) };
            assert_eq!(gosumdb(value).unwrap(), Some(want), "{value}");
        };
        is("sum.golang.org", None);
        is("sum.golang.org https://mirror.example", Some("https://mirror.example"));
        is("sum.golang.google.cn", Some("https://sum.golang.google.cn"));
        is(SUM_GOLANG_ORG_KEY, None);
        is(&format!(" {SUM_GOLANG_ORG_KEY}  file:///srv "), Some("file:///srv"));
        assert_eq!(gosumdb("off").unwrap(), None);
        for bad in ["", " ", "sum.corp.example", "a b c", "sum.golang.org+033de0ae+Ac4"] {
            assert!(gosumdb(bad).is_err(), "{bad}");
        }
    }
}
