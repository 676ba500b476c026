//! `direct`: a module from version control, by the go command itself.
//!
//! `go mod download -json path@version` runs in a scratch directory with an environment built from
//! nothing, and what counts is only the files that it leaves at their places in its module cache:
//!
//! ```text
//! <scratch>/mod/cache/download/github.com/!burnt!sushi/toml/@v/v1.3.2.mod
//! <scratch>/mod/cache/download/github.com/!burnt!sushi/toml/@v/v1.3.2.zip
//! <scratch>/mod/cache/download/github.com/!burnt!sushi/toml/@v/v1.3.2.info   (optional: the origin)
//! ```
//!
//! Exit status, printed paths and printed sums are not believed. What the repository can make go
//! and git do is bounded by time, by disk space and by the process group, which is killed; it is
//! not a sandbox: `git` is allowed and nothing else (`GOVCS=*:git`), no hooks and no build run, but
//! go and git parse what the repository's server sends.

mod environment;
mod error;
mod hidden;
mod probe;
mod words;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval, sleep_until};

pub use self::error::{VcsError, VcsFault};
use self::hidden::Hidden;
use self::words::{Blame, Words};
use super::fetched::{FetchedModule, ModuleLimits, SourceName, file_name};
use super::files;
use super::info::{self, MAX_INFO_BYTES};
use super::process::{KillOnDrop, ProcessGroup};
use super::proxies::ProxySettings;
use super::scratch::{Scratch, disk_use};
use super::space::ScratchSpace;
use super::spool::{Spool, blocking};
use crate::clock::Clock;
use crate::config::Netrc;
use crate::module::ModuleVersion;
use crate::source::{RedactedUrl, SourceUrl};

/// How often the size of the scratch directory is looked at. A fast line fills 25 MB in this time.
const DISK_CHECK_INTERVAL: Duration = Duration::from_millis(200);
/// How often it is asked what the disk has left: one system call. A line of 10 Gbit/s fills 25 MB
/// in this time, and the log goes on writing until 192 MiB more are gone.
const FLOOR_CHECK_INTERVAL: Duration = Duration::from_millis(20);
/// What a run takes before it has begun: without so much it need not begin.
const LEAST_SCRATCH_BYTES: u64 = 1 << 20;

/// How version control is used.
#[derive(Clone)]
pub struct VcsOptions {
    /// The go command: a path, or a name that is looked up in `PATH`.
    pub go: PathBuf,
    /// Where scratch directories and large zips are made.
    pub scratch: ScratchSpace,
    /// The `PATH` in which go, git and ssh are found.
    pub path: std::ffi::OsString,
    /// PEM file of root certificates that go and git trust instead of the system's.
    pub roots: Option<PathBuf>,
    /// Directories of root certificates, in the syntax of SSL_CERT_DIR.
    pub roots_directories: Option<std::ffi::OsString>,
    /// Outgoing proxies.
    pub proxies: ProxySettings,
    /// The operator's own lines of git configuration: credentials (`http.extraHeader`),
    /// `url.<base>.insteadOf`. Whoever can write them can run programs as the server's user
    /// (`credential.helper`, `core.sshCommand`).
    pub git_config: Option<String>,
    /// Logins that go and git use over https.
    pub netrc: Option<Netrc>,
    /// Module path patterns, as in GOINSECURE, that may be fetched without TLS. Whoever is on the
    /// path of such a connection can choose the code that is then notarised: for tests.
    pub insecure: Option<String>,
    /// How much a scratch directory may take on disk, in bytes; checked five times a second. What
    /// is left of `scratch` is watched more often.
    pub max_disk_bytes: u64,
    /// Time for deadlines.
    pub clock: Clock,
}

impl std::fmt::Debug for VcsOptions {
    /// Without the git configuration, which may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VcsOptions")
            .field("go", &self.go)
            .field("scratch", &self.scratch)
            .field("roots", &self.roots)
            .field("roots_directories", &self.roots_directories)
            .field("netrc", &self.netrc)
            .field("proxies", &self.proxies)
            .field("insecure", &self.insecure)
            .field("max_disk_bytes", &self.max_disk_bytes)
            .finish_non_exhaustive()
    }
}

impl VcsOptions {
    /// The defaults, with scratch directories below `scratch`.
    pub fn new(scratch: impl Into<ScratchSpace>) -> VcsOptions {
        VcsOptions {
            go: PathBuf::from("go"),
            scratch: scratch.into(),
            path: std::env::var_os("PATH").unwrap_or_default(),
            roots: None,
            roots_directories: None,
            proxies: ProxySettings::from_env(),
            git_config: None,
            netrc: None,
            insecure: None,
            // A large repository's history, its checkout as a zip and that unpacked: four times the
            // largest module.
            max_disk_bytes: 2 << 30,
            clock: Clock::system(),
        }
    }
}

/// Version control by way of the go command. Clones share the options.
#[derive(Clone, Debug)]
pub struct Vcs {
    options: Arc<VcsOptions>,
}

impl Vcs {
    /// Nothing is run or checked yet.
    pub fn new(options: VcsOptions) -> Vcs {
        Vcs { options: Arc::new(options) }
    }

    /// Downloads a module version. At the deadline, or when the future is dropped, go and
    /// everything that it started is killed; the scratch directory is removed in any case.
    pub async fn download(
        &self,
        module: &ModuleVersion,
        limits: &ModuleLimits,
        deadline: Instant,
    ) -> Result<FetchedModule, VcsError> {
        let started = self.options.clock.instant();
        let group = ProcessGroup::default();
        let _killer = KillOnDrop(group.clone());
        let options = self.options.clone();
        let made = blocking(move || {
            let mut share = options.scratch.share();
            // It waits for others here, where nothing is written yet.
            share.take(LEAST_SCRATCH_BYTES).map_err(|source| VcsError::NoSpace { source })?;
            let scratch = environment::make_scratch(&options);
            Ok((scratch.map_err(|source| VcsError::Local { source })?, share))
        });
        let (scratch, mut share) = made.await?;
        let root = scratch.root().to_owned();
        let run = Run { options: self.options.clone(), module: module.clone(), limits: *limits, scratch };
        let worker = blocking({
            let group = group.clone();
            move || run.finish(&group)
        });
        tokio::pin!(worker);
        let (mut disk, mut floor) = (interval(DISK_CHECK_INTERVAL), interval(FLOOR_CHECK_INTERVAL));
        floor.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut killed_for: Option<VcsError> = None;
        loop {
            tokio::select! {
                biased;
                done = &mut worker => return match (done, killed_for) {
                    (Err(_), Some(why)) => Err(why),
                    // It was done just before the kill.
                    (done, _) => done,
                },
                () = sleep_until(deadline.into()), if killed_for.is_none() => {
                    group.kill();
                    killed_for = Some(VcsError::Timeout { after: self.options.clock.instant() - started });
                }
                _ = disk.tick(), if killed_for.is_none() => {
                    let (root, max_bytes) = (root.clone(), self.options.max_disk_bytes);
                    let used = blocking(move || disk_use(&root, max_bytes)).await;
                    let held = share.hold(used.max(LEAST_SCRATCH_BYTES));
                    if used > max_bytes {
                        group.kill();
                        killed_for = Some(VcsError::TooLarge { what: "its scratch directory", max_bytes });
                    } else if let Err(source) = held {
                        group.kill();
                        killed_for = Some(VcsError::NoSpace { source });
                    }
                }
                _ = floor.tick(), if killed_for.is_none() => {
                    if let Err(source) = self.options.scratch.check(0) {
                        group.kill();
                        killed_for = Some(VcsError::NoSpace { source });
                    }
                }
            }
        }
    }
}

/// One run of the go command; all of it blocks.
struct Run {
    options: Arc<VcsOptions>,
    module: ModuleVersion,
    limits: ModuleLimits,
    scratch: Scratch,
}

impl Run {
    fn finish(self, group: &ProcessGroup) -> Result<FetchedModule, VcsError> {
        let (options, scratch) = (&*self.options, &self.scratch);
        let command = environment::command(&options.go, options, scratch, ["stdout", "stderr"]);
        let mut command = command.map_err(|source| VcsError::Local { source })?;
        command.args(["mod", "download", "-json"]).arg(self.module.to_string());
        // The exit status is not looked at: the files are there or they are not.
        group.run(&mut command).map_err(|source| VcsError::NoGo {
            go: options.go.clone(),
            path: options.path.clone(),
            source,
        })?;
        let (go_mod, zip) = (self.cached("mod"), self.cached("zip"));
        if !(go_mod.exists() && zip.exists()) {
            return Err(self.explain(group));
        }
        self.collect(&go_mod, &zip)
    }

    /// `<scratch>/mod/cache/download/<escaped path>/@v/<escaped version>.<extension>`
    fn cached(&self, extension: &str) -> PathBuf {
        self.scratch.path("mod/cache/download").join(file_name(&self.module, extension))
    }

    fn collect(&self, go_mod: &Path, zip: &Path) -> Result<FetchedModule, VcsError> {
        let (max_mod_bytes, max_zip_bytes) = (self.limits.max_mod_bytes, self.limits.max_zip_bytes);
        let go_mod =
            files::read_blocking(go_mod, &url(go_mod), max_mod_bytes).map_err(|e| local(e, "the go.mod"))?;
        let spool = Spool::new(&self.options.scratch);
        let zip =
            files::copy_blocking(zip, &url(zip), max_zip_bytes, spool).map_err(|e| local(e, "the zip"))?;
        let info = self.cached("info");
        let info = files::read_blocking(&info, &url(&info), MAX_INFO_BYTES).ok();
        let info = info.and_then(|info| info::parse(&info, self.module.version.as_str()).ok());
        Ok(FetchedModule { source: SourceName::Direct, go_mod, zip, info })
    }

    /// Turns the words of go or git into an error.
    fn explain(&self, group: &ProcessGroup) -> VcsError {
        let read = |name| self.scratch.output(name).unwrap_or_default();
        let words = Words::of_go(&read("stdout"), &read("stderr"), &self.module.to_string());
        let asked = words
            .is_unexplained()
            .then(|| probe::ask_git(&self.options, &self.scratch, group, self.module.path.as_str()));
        let (blame, text) = asked.flatten().unwrap_or_else(|| words.judge());
        let hidden = self.hidden();
        let said = hidden.for_clients(&text, self.scratch.root());
        let in_full = hidden.for_log(&text, self.scratch.root());
        match blame {
            Blame::Missing => VcsError::NotFound { said },
            Blame::Module => VcsError::Malformed { said },
            Blame::Setup(fault) => VcsError::Setup { fault, said, in_full },
            Blame::Network => VcsError::Unreachable { said },
            Blame::Unknown => VcsError::Failed { said, in_full },
        }
    }

    /// Collects what must not get out with the words of go and git.
    fn hidden(&self) -> Hidden {
        let options = &*self.options;
        let secrets = options.netrc.iter().flat_map(Netrc::secrets);
        let mut hidden = Hidden::new(options.git_config.as_deref().unwrap_or_default(), secrets);
        for proxy in [&options.proxies.http, &options.proxies.https].into_iter().flatten() {
            hidden.add_userinfo(proxy);
        }
        hidden
    }
}

/// Only for the file functions, which want to name what they read; [`local`] drops it again.
fn url(path: &Path) -> RedactedUrl {
    SourceUrl::directory(path).expect("the scratch directory's path is absolute").redacted()
}

fn local(error: super::error::FetchError, what: &'static str) -> VcsError {
    match error {
        super::error::FetchError::TooLarge { max_bytes, .. } => VcsError::TooLarge { what, max_bytes },
        super::error::FetchError::NoSpace { source, .. } => VcsError::NoSpace { source },
        super::error::FetchError::Local { source, .. } => VcsError::Local { source },
        other => VcsError::Local { source: io::Error::other(other.to_string()) },
    }
}
