//! A mirror whose database cannot be used, as clients see it: everything is 503 and names the cause, never 404, since a client
//! that needs this log must not go on without it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{BoxFuture, ChecksumDatabase, Client, LatestHead, LookupRefusal, ReadError};
use crate::mirror::Unusable;
use crate::module::ModuleVersion;
use crate::tlog::Tile;

/// It takes a person; asked every minute it is heard of soon enough.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// The log's name, with nothing behind it.
pub struct UnusableLog(pub Arc<Unusable>);

impl UnusableLog {
    fn refusal(&self) -> LookupRefusal {
        LookupRefusal::TryLater { text: self.0.text_for_clients(), retry_after: RETRY_AFTER }
    }

    fn refused<T: Send + 'static>(&self) -> BoxFuture<'_, Result<T, LookupRefusal>> {
        let refusal = self.refusal();
        Box::pin(async move { Err(refusal) })
    }
}

impl ChecksumDatabase for UnusableLog {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn supported(&self, _: &Client) -> Result<(), LookupRefusal> {
        Err(self.refusal())
    }

    fn latest(&self, _: &Client) -> Result<Option<LatestHead>, ReadError> {
        Ok(None)
    }

    fn fetch_latest(&self, _: Client) -> Option<BoxFuture<'_, Result<LatestHead, LookupRefusal>>> {
        Some(self.refused())
    }

    fn tile(&self, _: &Tile, _: &Client) -> Result<Option<Bytes>, ReadError> {
        Ok(None)
    }

    fn fetch_tile(&self, _: Tile, _: Client) -> Option<BoxFuture<'_, Result<Bytes, LookupRefusal>>> {
        Some(self.refused())
    }

    fn lookup(&self, _: &ModuleVersion, _: &Client) -> Result<Option<Bytes>, ReadError> {
        Ok(None)
    }

    fn fetch_lookup(&self, _: ModuleVersion, _: Client) -> BoxFuture<'_, Result<Bytes, LookupRefusal>> {
        self.refused()
    }
}
