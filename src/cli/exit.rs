//! Exit codes, the same for every command, so that a script can tell "try again" from "a person
//! must look". Which of them a command ends with is in [`super::exit_codes`].

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

use crate::config::ConfigError;
use crate::config::keys::KeyFileError;
use crate::http::control::ControlError;
use crate::store::StoreError;
use crate::upstream::FetchError;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Exit {
    /// Done; also: nothing new.
    Done = 0,
    /// The answer is no, or it was not done.
    Failed = 1,
    /// Wrong usage or configuration.
    Usage = 2,
    /// Something is not reachable: try again.
    Unreachable = 3,
    /// Something differs, is damaged or contradicts itself: a person must look.
    Damage = 4,
    /// Another process is already running on this data.
    Running = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

impl Exit {
    /// The code of an error: the one it was given by [`OrExit`], or the one that its type stands
    /// for.
    pub(super) fn of(error: &anyhow::Error) -> Exit {
        error.chain().find_map(Exit::of_cause).unwrap_or(Exit::Failed)
    }

    fn of_cause(cause: &(dyn Error + 'static)) -> Option<Exit> {
        if let Some(coded) = cause.downcast_ref::<Coded>() {
            return Some(coded.exit);
        }
        if cause.is::<ConfigError>() {
            return Some(Exit::Usage);
        }
        if let Some(error) = cause.downcast_ref::<ControlError>() {
            return Some(Exit::of_control(error));
        }
        cause.downcast_ref::<KeyFileError>().map(|error| match error {
            KeyFileError::Io { .. } | KeyFileError::Exists { .. } | KeyFileError::NoRandomness { .. } => {
                Exit::Failed
            }
            KeyFileError::Malformed { .. } | KeyFileError::Mismatch { .. } => Exit::Damage,
            KeyFileError::LoosePermissions { .. }
            | KeyFileError::NameDiffers { .. }
            | KeyFileError::Several { .. }
            | KeyFileError::Missing { .. }
            | KeyFileError::BadName { .. } => Exit::Usage,
        })
    }
}

impl Exit {
    /// Returns the code that matters more to a scheduler.
    pub(super) fn or_worse(self, other: Exit) -> Exit {
        let order = [Exit::Damage, Exit::Usage, Exit::Failed, Exit::Running, Exit::Unreachable];
        order.into_iter().find(|exit| *exit == self || *exit == other).unwrap_or(Exit::Done)
    }

    /// The code of an error of a store.
    pub(super) fn of_store(error: &StoreError) -> Exit {
        match error {
            StoreError::Locked { .. } => Exit::Running,
            StoreError::Damaged { .. } => Exit::Damage,
            StoreError::Foreign { .. } | StoreError::NewerSchema { .. } => Exit::Usage,
            _ => Exit::Failed,
        }
    }

    fn of_control(error: &ControlError) -> Exit {
        match error {
            ControlError::Cut | ControlError::Lines(_) | ControlError::Silent(_) => Exit::Unreachable,
            ControlError::Connect { .. }
            | ControlError::Handshake(_)
            | ControlError::Body(_)
            | ControlError::OtherVersion
            | ControlError::Status { .. }
            | ControlError::Unreadable(_)
            | ControlError::Unexpected(_) => Exit::Failed,
        }
    }
}

/// Returns the error with its causes. Many errors name their cause in their own text; it is not
/// said twice.
pub(super) fn text_of(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |text, cause| {
        let cause = cause.to_string();
        match text.as_str() {
            "" => cause,
            said if said.contains(&cause) => text,
            said => format!("{said}: {cause}"),
        }
    })
}

/// Gives an error its exit code.
pub(super) trait OrExit<T> {
    /// The same result; an error will end the process with `exit`.
    fn or_exit(self, exit: Exit) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> OrExit<T> for Result<T, E> {
    fn or_exit(self, exit: Exit) -> anyhow::Result<T> {
        self.map_err(|error| anyhow::Error::new(Coded { exit, error: error.into() }))
    }
}

/// Gives an error of a store the exit code that it stands for.
pub(super) trait OrStoreExit<T> {
    /// The same result; an error will end the process with [`Exit::of_store`].
    fn or_store_exit(self) -> anyhow::Result<T>;
}

impl<T> OrStoreExit<T> for Result<T, StoreError> {
    fn or_store_exit(self) -> anyhow::Result<T> {
        self.or_else(|error| {
            let exit = Exit::of_store(&error);
            Err(error).or_exit(exit)
        })
    }
}

/// An error of a request to a server, with what to do about it.
pub(super) fn advised(error: FetchError) -> anyhow::Error {
    let exit = if error.is_transient() || error.fix().is_some() { Exit::Unreachable } else { Exit::Failed };
    let fix = error.fix();
    let error = anyhow::Error::new(error);
    let error = match fix {
        Some(fix) => anyhow::anyhow!("{error:#}\n  fix: {}", fix.advice()),
        None => error,
    };
    anyhow::Error::new(Coded { exit, error })
}

/// An error with its exit code; it reads like the error alone.
struct Coded {
    exit: Exit,
    error: anyhow::Error,
}

impl fmt::Display for Coded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl fmt::Debug for Coded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl Error for Coded {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    /// The table is that of the design: 0 done, 1 failed, 2 usage, 3 unreachable, 4 damage, 5
    /// running.
    #[test]
    fn codes_survive_context_and_read_like_the_error() {
        let error = Err::<(), _>(anyhow::anyhow!("no route to host")).or_exit(Exit::Unreachable);
        let error = error.context("asking sum.corp.example").unwrap_err();
        assert_eq!(Exit::of(&error), Exit::Unreachable);
        assert_eq!(text_of(&error), "asking sum.corp.example: no route to host");
        assert_eq!(Exit::of(&anyhow::anyhow!("anything")), Exit::Failed);
        let codes = [Exit::Done, Exit::Failed, Exit::Usage, Exit::Unreachable, Exit::Damage, Exit::Running];
        assert_eq!(codes.map(|exit| exit as u8), [0, 1, 2, 3, 4, 5]);
    }
    #[test]
    fn no_cause_is_said_twice() {
        let denied = || std::io::Error::from_raw_os_error(13);
        let error = StoreError::File { path: "/srv/log.db".to_owned(), source: denied() };
        let text = "/srv/log.db: Permission denied (os error 13)";
        assert_eq!(text_of(&anyhow::Error::new(error)), text);
        let error = StoreError::File { path: "/srv/log.db".to_owned(), source: denied() };
        let error = Err::<(), _>(error).or_store_exit().context("opening the log").unwrap_err();
        assert_eq!(text_of(&error), format!("opening the log: {text}"));
        let error = anyhow::Error::new(denied()).context("cannot read /srv/key");
        assert_eq!(text_of(&error), "cannot read /srv/key: Permission denied (os error 13)");
    }
}
