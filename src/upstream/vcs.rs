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

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval, sleep_until};

use super::error::UpstreamMessage;
use super::fetched::{FetchedModule, ModuleLimits, SourceName, file_name};
use super::files;
use super::info::{self, MAX_INFO_BYTES};
use super::process::{KillOnDrop, ProcessGroup};
use super::proxies::ProxySettings;
use super::scratch::{Scratch, disk_use};
use super::space::{NoSpace, ScratchSpace};
use super::spool::{Spool, blocking};
use super::vcs_message::{Blame, Message};
use crate::clock::Clock;
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
    /// Outgoing proxies.
    pub proxies: ProxySettings,
    /// The operator's own lines of git configuration: credentials (`http.extraHeader`),
    /// `url.<base>.insteadOf`. Whoever can write them can run programs as the server's user
    /// (`credential.helper`, `core.sshCommand`).
    pub git_config: Option<String>,
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
            proxies: ProxySettings::from_env(),
            git_config: None,
            insecure: None,
            // A large repository's history, its checkout as a zip and that unpacked: four times the
            // largest module.
            max_disk_bytes: 2 << 30,
            clock: Clock::system(),
        }
    }
}

/// Why version control gave no module. Nothing in it holds secrets or local paths.
#[derive(Debug, thiserror::Error)]
pub enum VcsError {
    /// The repository or the version is not there.
    #[error("version control has no such module version{said}")]
    NotFound {
        /// What go or git said.
        said: UpstreamMessage,
    },
    /// The repository wants credentials. Remedy: the operator's git configuration.
    #[error("version control refused access{said}")]
    Forbidden {
        /// What go or git said.
        said: UpstreamMessage,
    },
    /// Name look-up or connection failed.
    #[error("version control cannot be reached{said}")]
    Unreachable {
        /// What go or git said.
        said: UpstreamMessage,
    },
    /// Anything else that go or git said.
    #[error("go mod download failed{said}")]
    Failed {
        /// What go or git said.
        said: UpstreamMessage,
    },
    /// Time ran out.
    #[error("version control timed out after {after:.1?}")]
    Timeout {
        /// How long it had taken.
        after: Duration,
    },
    /// The zip, the go.mod or the scratch directory grew too large.
    #[error("version control: {what} is larger than the allowed {max_bytes} bytes")]
    TooLarge {
        /// What.
        what: &'static str,
        /// The limit.
        max_bytes: u64,
    },
    /// The go command cannot be started. Remedy: install Go and git, or take `direct` out of the
    /// sources.
    #[error("cannot run the go command ({source}); a source \"direct\" needs go and git in PATH")]
    NoGo {
        /// The system's error.
        source: io::Error,
    },
    /// Scratch has no space left. It passes.
    #[error("version control: scratch has no space left")]
    NoSpace {
        /// Which disk or limit.
        source: NoSpace,
    },
    /// Our own disk failed.
    #[error("scratch directory: {source}")]
    Local {
        /// The system's error.
        source: io::Error,
    },
}

impl VcsError {
    /// Whether the repository or the version is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, VcsError::NotFound { .. })
    }

    /// Whether it may work later by itself.
    pub fn is_transient(&self) -> bool {
        matches!(self, VcsError::Unreachable { .. } | VcsError::Timeout { .. } | VcsError::NoSpace { .. })
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
            let scratch = Scratch::new(options.scratch.directory(), options.git_config.as_deref());
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
        let mut command = self.command().map_err(|source| VcsError::Local { source })?;
        // The exit status is not looked at: the files are there or they are not.
        group.run(&mut command).map_err(|source| VcsError::NoGo { source })?;
        let (go_mod, zip) = (self.cached("mod"), self.cached("zip"));
        if !(go_mod.exists() && zip.exists()) {
            return Err(self.explain());
        }
        self.collect(&go_mod, &zip)
    }

    /// `<scratch>/mod/cache/download/<escaped path>/@v/<escaped version>.<extension>`
    fn cached(&self, extension: &str) -> PathBuf {
        self.scratch.path("mod/cache/download").join(file_name(&self.module, extension))
    }

    fn command(&self) -> io::Result<Command> {
        let (options, scratch) = (&*self.options, &self.scratch);
        let mut command = Command::new(&options.go);
        command
            .args(["mod", "download", "-json"])
            .arg(self.module.to_string())
            .current_dir(scratch.path("work"))
            .env_clear()
            .env("PATH", &options.path)
            .envs([
                ("LC_ALL", "C"),
                ("GOENV", "off"),
                ("GOTOOLCHAIN", "local"),
                ("GOWORK", "off"),
                ("GO111MODULE", "on"),
                ("GOSUMDB", "off"),
                ("GOPROXY", "direct"),
                ("GOFLAGS", "-modcacherw"),
                ("GOVCS", "*:git"),
                ("GOAUTH", "off"),
                ("GIT_TERMINAL_PROMPT", "0"),
                ("GIT_CONFIG_NOSYSTEM", "1"),
                ("GIT_SSH_COMMAND", "ssh -o BatchMode=yes -o ControlMaster=no -o ConnectTimeout=30"),
                ("GIT_ASKPASS", "/bin/false"),
                ("SSH_ASKPASS", "/bin/false"),
                ("GCM_INTERACTIVE", "never"),
            ])
            .envs([
                ("HOME", scratch.path("home")),
                ("XDG_CONFIG_HOME", scratch.path("home/.config")),
                ("GIT_CONFIG_GLOBAL", scratch.path("home/.gitconfig")),
                ("GOPATH", scratch.path("gopath")),
                ("GOMODCACHE", scratch.path("mod")),
                ("GOCACHE", scratch.path("gocache")),
                ("TMPDIR", scratch.path("tmp")),
            ])
            .envs(options.proxies.variables())
            .stdin(Stdio::null())
            .stdout(scratch.create("stdout")?)
            .stderr(scratch.create("stderr")?);
        if let Some(roots) = &options.roots {
            command.env("SSL_CERT_FILE", roots).env("GIT_SSL_CAINFO", roots);
        }
        if let Some(insecure) = &options.insecure {
            command.env("GOINSECURE", insecure);
        }
        Ok(command)
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

    /// What go or git said, as an error.
    fn explain(&self) -> VcsError {
        let read = |name| self.scratch.output(name).unwrap_or_default();
        let message = Message::read(&read("stdout"), &read("stderr"));
        let said = message.clean(self.scratch.root(), self.options.git_config.as_deref());
        match message.blame() {
            Blame::Missing => VcsError::NotFound { said },
            Blame::Access => VcsError::Forbidden { said },
            Blame::Network => VcsError::Unreachable { said },
            Blame::Unknown => VcsError::Failed { said },
        }
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
