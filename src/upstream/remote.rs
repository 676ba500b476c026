//! What is known of a remote checksum database and each of its URLs; all questions to it share
//! this.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::client::{HttpClient, Validators};
use super::health::SourceHealth;
use super::passing::Passing;
use super::throttle::Throttle;
use crate::source::{RedactedUrl, SourceUrl};

/// A head takes some 200 bytes, with many signatures a few thousand. Larger ones are fetched again
/// each time.
const MAX_KEPT_HEAD_BYTES: usize = 64 << 10;

/// A checksum database at its URLs, and what is known of each.
#[derive(Debug)]
pub(super) struct Remote {
    pub(super) name: String,
    pub(super) urls: Vec<SourceUrl>,
    pub(super) passing: Vec<Passing>,
    pub(super) client: HttpClient,
    pub(super) health: SourceHealth,
    pub(super) throttle: Arc<Throttle>,
    /// Under this lock, shared by all inquiries: the head that each URL sent last, where it can be
    /// asked whether it still has that one.
    heads: Mutex<Vec<Option<KeptHead>>>,
}

/// A head as a URL sent it, unverified.
#[derive(Clone, Debug)]
pub(super) struct KeptHead {
    pub(super) validators: Validators,
    pub(super) body: Bytes,
    pub(super) url: RedactedUrl,
}

/// One of a database's URLs, by its place in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UrlId(pub(super) usize);

impl Remote {
    pub(super) fn new(
        name: String,
        urls: Vec<SourceUrl>,
        client: HttpClient,
        throttle: Arc<Throttle>,
    ) -> Remote {
        let health = SourceHealth::new(urls.len(), client.clock().clone());
        let passing = urls.iter().map(|url| Passing::of(url, &name)).collect();
        let heads = Mutex::new(vec![None; urls.len()]);
        Remote { name, urls, passing, client, health, throttle, heads }
    }

    /// The head that a URL sent last.
    pub(super) fn kept_head(&self, n: usize) -> Option<KeptHead> {
        self.heads()[n].clone()
    }

    /// Remembers the head that a URL sent, if it can be asked about it and is no more than one.
    pub(super) fn keep_head(&self, n: usize, head: Option<KeptHead>) {
        let is_kept = |head: &KeptHead| !head.validators.is_empty() && head.body.len() <= MAX_KEPT_HEAD_BYTES;
        self.heads()[n] = head.filter(is_kept);
    }

    fn heads(&self) -> MutexGuard<'_, Vec<Option<KeptHead>>> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
