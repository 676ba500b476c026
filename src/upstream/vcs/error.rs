//! Why version control gave no module, and who must act.
//!
//! | variant | who must act | does it pass by itself? |
//! |---|---|---|
//! | `NotFound` | the one who asks: no such repository or version | when it is published |
//! | `Malformed` | the repository's owner | no |
//! | `Setup`, `NoGo` | our operator, see [`VcsFault`] | no |
//! | `Unreachable`, `Timeout`, `NoSpace` | nobody yet | yes |
//! | `Failed` | nobody can tell: go or git said something that we do not know | no |
//! | `TooLarge` | the repository's owner, or our operator's limit | no |
//! | `Local` | our operator: our own disk | no |

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::upstream::error::UpstreamMessage;
use crate::upstream::space::NoSpace;

/// Why version control gave no module. Its `Display` holds neither secrets nor local paths.
#[derive(Debug, thiserror::Error)]
pub enum VcsError {
    /// The repository or the version is not there.
    #[error("version control has no such module version{said}")]
    NotFound {
        /// What go or git said.
        said: UpstreamMessage,
    },
    /// The repository holds no valid module at this version. Remedy: a new version.
    #[error("the repository holds no valid module at this version{said}")]
    Malformed {
        /// What go said.
        said: UpstreamMessage,
    },
    /// Our operator must change something first; see [`VcsFault`].
    #[error("{fault}{said}")]
    Setup {
        /// What.
        fault: VcsFault,
        /// What go or git said.
        said: UpstreamMessage,
        /// The same with local paths, for our own operator.
        in_full: UpstreamMessage,
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
        /// The same with local paths, for our own operator.
        in_full: UpstreamMessage,
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
    /// The go command cannot be started.
    #[error("this server cannot run the go command, which \"direct\" needs ({source})")]
    NoGo {
        /// The command.
        go: PathBuf,
        /// Where it was looked for.
        path: std::ffi::OsString,
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

/// A fault that our operator must mend before version control can give a module. `Display` is a
/// clause that names the fault and its party, [`VcsFault::fix`] the remedy as an imperative.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VcsFault {
    /// No git command in `PATH`.
    #[error("this server has no git command, which \"direct\" needs")]
    NoGit,
    /// The module's go line is newer than our go command.
    #[error("it needs Go {needs}, and this server's Go is {has}")]
    GoTooOld {
        /// Our go command's version.
        has: String,
        /// The version of the module's go line.
        needs: String,
    },
    /// The repository is of another kind than git.
    #[error("its repository needs {vcs}, and this server runs git alone (GOVCS=*:git)")]
    OtherVcs {
        /// Which: hg, svn, bzr or fossil.
        vcs: String,
    },
    /// A local repository belongs to another user.
    #[error("this server's git refuses a repository that belongs to another user than the server")]
    Ownership,
    /// Git cannot use what `git_config` says.
    #[error("this server's git cannot use its own configuration")]
    GitConfig,
    /// There is no ssh, or not the program that `core.sshCommand` names.
    #[error("this server's git cannot run its SSH command")]
    NoSsh,
    /// The Git host's SSH key is unknown or has changed.
    #[error("this server does not know the SSH key of the Git host")]
    HostKey,
    /// No trusted root signed the Git host's certificate.
    #[error("this server does not trust the certificate of the Git host")]
    UntrustedCertificate,
    /// The Git host's certificate has expired, or is for another name.
    #[error("the certificate of the Git host is not valid")]
    InvalidCertificate,
    /// The outgoing proxy refuses.
    #[error("this server's outgoing proxy refuses the connection to the Git host")]
    OutgoingProxy,
    /// The Git host wants a login, or refuses the one it was given.
    #[error("the Git host refuses access to this server")]
    Access,
    /// The Git host refuses the SSH key.
    #[error("the Git host refuses the SSH key of this server")]
    SshKey,
}

impl VcsFault {
    /// Returns the remedy, for the operator.
    pub fn fix(&self) -> String {
        match self {
            VcsFault::NoGit => "install git on the server, in the PATH of its service".into(),
            VcsFault::GoTooOld { needs, .. } => {
                format!("install Go {needs} or newer on the server, first in the PATH of its service")
            }
            VcsFault::OtherVcs { .. } => {
                "take such modules from a module proxy: name its URL in `source` of their [[route]]".into()
            }
            VcsFault::Ownership => {
                "add that repository's path to the file of `git_config`: [safe] directory = PATH".into()
            }
            VcsFault::GitConfig => "correct the file of `git_config`, with full paths in it".into(),
            VcsFault::NoSsh => {
                "install ssh on the server, or correct core.sshCommand in the file of `git_config`".into()
            }
            VcsFault::HostKey => {
                "compare the key with the one that the host's operator publishes, then add it to \
                 /etc/ssh/ssh_known_hosts on the server"
                    .into()
            }
            VcsFault::UntrustedCertificate => {
                "name the PEM file with the CA that signed it in `roots`".into()
            }
            VcsFault::InvalidCertificate => {
                "have the Git host's operator install a certificate that is valid for its name today".into()
            }
            VcsFault::OutgoingProxy => {
                "allow the host (and this server) at the proxy that HTTPS_PROXY names, or add the host to NO_PROXY"
                    .into()
            }
            VcsFault::Access => "give the server a login that may read this module: `netrc` of its [[route]], or a \
                                 credential helper in the file of `git_config`"
                .into(),
            VcsFault::SshKey => "give the server a key that may read this module: core.sshCommand = ssh -i FILE in the \
                                 file of `git_config`"
                .into(),
        }
    }

    /// Returns true where the server alone is at fault, not the module and not its host.
    pub fn is_server_alone(&self) -> bool {
        matches!(
            self,
            VcsFault::NoGit
                | VcsFault::GoTooOld { .. }
                | VcsFault::Ownership
                | VcsFault::GitConfig
                | VcsFault::NoSsh
        )
    }
}
