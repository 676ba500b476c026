//! Routes: which modules come from where, and who vouches for their lines. The configuration
//! declares them, and whoever serves or records modules follows them: the same routes, with sources
//! and databases that can be asked.
//!
//! The first route that matches an unescaped path counts, for everything: a module that its source
//! does not have is not looked for at another route's, and what a private module requires is asked
//! of its own route or not at all.

mod choose;

use std::fmt;

pub(crate) use choose::may_tell;
pub use choose::{Choice, Untold, Withheld, choose};

use crate::module::PathPatterns;
use crate::source::SourceList;

/// What happens with the modules of some paths. `S` is where they are fetched and `D` a checksum
/// database: their names where the route is declared, and what can be asked where it is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route<S = SourceList, D = String> {
    /// Which module paths, unescaped.
    pub modules: PathPatterns,
    /// Where the modules are fetched. Not needed where a database gives the lines.
    pub source: Option<S>,
    /// Who vouches for the lines.
    pub checksum: Checksum<D>,
}

/// Who vouches for the lines of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checksum<D = String> {
    /// We do: what the source serves is hashed.
    Compute,
    /// This checksum database.
    Sumdb(D),
}

/// What names a checksum database.
pub trait DatabaseName {
    /// Returns its name, such as `sum.golang.org`.
    fn database_name(&self) -> &str;
}

impl DatabaseName for String {
    fn database_name(&self) -> &str {
        self
    }
}

/// Why a route cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// Version control connects to whatever host a path names, so the path's host must be the
    /// operator's choice.
    #[error("route {number} allows \"direct\" for modules of any host: name the host in its patterns")]
    DirectNeedsHost {
        /// The route, from 1.
        number: usize,
    },
    /// There is nothing to hash.
    #[error("route {number} is to be computed but has no source")]
    NoSource {
        /// The route, from 1.
        number: usize,
    },
}

impl<S: AsRef<SourceList>, D> Route<S, D> {
    /// Checks what the configuration refuses and whoever follows a route refuses again, because a
    /// mistake there would open our network. `number` is the route's, from 1.
    pub(crate) fn check(&self, number: usize) -> Result<(), RouteError> {
        match (&self.source, &self.checksum) {
            (Some(source), _) if source.as_ref().has_direct() && !self.modules.has_literal_host() => {
                Err(RouteError::DirectNeedsHost { number })
            }
            (None, Checksum::Compute) => Err(RouteError::NoSource { number }),
            _ => Ok(()),
        }
    }
}

impl<S, D: DatabaseName> Route<S, D> {
    /// The database that is asked; none where the lines are computed here, which is what makes
    /// paths private.
    pub(crate) fn sumdb(&self) -> Option<&str> {
        match &self.checksum {
            Checksum::Compute => None,
            Checksum::Sumdb(database) => Some(database.database_name()),
        }
    }
}

impl<D: DatabaseName> fmt::Display for Checksum<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Checksum::Compute => "compute",
            Checksum::Sumdb(database) => database.database_name(),
        })
    }
}
