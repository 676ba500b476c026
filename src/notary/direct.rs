//! Turns a failure of version control into the answer of a look-up.
//!
//! | failure | answer | why |
//! |---|---|---|
//! | `NotFound` | 404 | the Git host says that there is no such thing |
//! | `Malformed`, `TooLarge` | 409 | the repository must be repaired |
//! | `Unreachable`, `Timeout`, `NoSpace` | 503 with `Retry-After` | it passes by itself |
//! | `Setup` | 403 | our operator must act first, and no client can |
//! | `NoGo`, and a missing git | 500 | no module at all can be fetched |
//! | `Failed` | 403 | a person must read it |
//! | `Local` | 500 | our own disk |

use std::sync::Arc;
use std::time::Duration;

use super::error::{Delay, NotaryError, Remedy};
use super::limits::DEFAULT_RETRY_AFTER;
use super::unfetchable::Unfetchable;
use crate::module::ModuleVersion;
use crate::upstream::{UpstreamMessage, VcsError, VcsFault};

/// Tells a failure of version control as the notary's.
pub(super) fn failed(module: &ModuleVersion, place: Arc<str>, error: &VcsError) -> NotaryError {
    let module = module.clone();
    let unfetchable = |why| NotaryError::Unfetchable { module: module.clone(), why: Arc::new(why) };
    match error {
        VcsError::NotFound { said } => {
            NotaryError::NotFound { module, place, said: said.clone(), max_age: Duration::ZERO }
        }
        VcsError::Malformed { .. } | VcsError::TooLarge { .. } => {
            let (why, remedy) = (error.to_string().into(), Remedy::Repair);
            NotaryError::Refused { module, place, why, remedy }
        }
        VcsError::Setup { fault, said, in_full } => unfetchable(Unfetchable {
            cause: fault.to_string(),
            said: said.clone(),
            in_full: in_full.clone(),
            is_server_alone: fault.is_server_alone(),
            fix: fault.fix(),
            stops_all: matches!(fault, VcsFault::NoGit),
        }),
        VcsError::NoGo { go, path, .. } => unfetchable(Unfetchable {
            cause: error.to_string(),
            said: UpstreamMessage::default(),
            in_full: UpstreamMessage::clean(
                format!("{} was looked for in PATH={}", go.display(), path.display()).as_bytes(),
            ),
            is_server_alone: true,
            fix: "install Go and git on the server, and put both into the PATH of its service".to_owned(),
            stops_all: true,
        }),
        VcsError::Failed { said, in_full } => {
            let fix = format!(
                "run `GOPROXY=direct go mod download {module}` on the server as its user, and follow what it says"
            );
            unfetchable(Unfetchable {
                cause: "go or git failed on this server".to_owned(),
                said: said.clone(),
                in_full: in_full.clone(),
                is_server_alone: false,
                fix,
                stops_all: false,
            })
        }
        VcsError::Unreachable { said } => NotaryError::TryLater {
            module,
            why: Delay::GitHost { said: said.clone() },
            retry_after: DEFAULT_RETRY_AFTER,
        },
        VcsError::Timeout { .. } => NotaryError::TryLater {
            module,
            why: Delay::Source { place, why: error.to_string().into() },
            retry_after: DEFAULT_RETRY_AFTER,
        },
        VcsError::NoSpace { source } => {
            tracing::error!(%module, error = %source, "scratch has no space left: a look-up was refused");
            NotaryError::TryLater { module, why: Delay::NoSpace, retry_after: DEFAULT_RETRY_AFTER }
        }
        VcsError::Local { .. } => NotaryError::internal(&module, error),
    }
}
