//! Routes that can be followed: with sources and remote logs that are ready to be asked.

use std::sync::Arc;

use super::lines::RemoteLines;
use super::words::for_clients;
use crate::route::{Checksum, DatabaseName, Route, RouteError};
use crate::upstream::GoProxy;

/// A route that can be followed. Without a source, nothing is notarized ahead.
pub type NotaryRoute = Route<GoProxy, Arc<dyn RemoteLines>>;

impl DatabaseName for Arc<dyn RemoteLines> {
    fn database_name(&self) -> &str {
        self.name()
    }
}

/// Checks each route.
pub(super) fn check_all(routes: &[NotaryRoute]) -> Result<(), RouteError> {
    routes.iter().enumerate().try_for_each(|(n, route)| route.check(n + 1))
}

/// Who is asked, as clients may read it.
pub(super) fn place(route: &NotaryRoute) -> Arc<str> {
    match (&route.checksum, &route.source) {
        (Checksum::Sumdb(remote), _) => remote.name().into(),
        (Checksum::Compute, Some(source)) => for_clients(&source.list().redacted()).into(),
        (Checksum::Compute, None) => "nowhere".into(),
    }
}
