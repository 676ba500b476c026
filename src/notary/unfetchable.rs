//! Why a module cannot be fetched until the operator of this server has changed something.

use std::fmt;

use crate::upstream::UpstreamMessage;

/// Why version control gives no module until somebody changes something at this server. `Display`
/// is for the server's log.
#[derive(Clone, Debug)]
pub struct Unfetchable {
    /// The fault and its party: a clause.
    pub(super) cause: String,
    /// The words of go or git, for clients.
    pub(super) said: UpstreamMessage,
    /// The same for the log.
    pub(super) in_full: UpstreamMessage,
    /// True where nothing is known to be wrong with the module or its host.
    pub(super) is_server_alone: bool,
    /// The remedy, for the operator: an imperative.
    pub(super) fix: String,
    /// True where every module of such a route has the same fate.
    pub(super) stops_all: bool,
}

impl fmt::Display for Unfetchable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}\n  fix: {}", self.cause, self.in_full, self.fix)
    }
}

impl Unfetchable {
    /// Returns true where every module of such a route has the same fate.
    pub fn stops_all(&self) -> bool {
        self.stops_all
    }
}
