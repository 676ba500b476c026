//! Fetching a module version through a GOPROXY list: `.mod`, `.zip` and `.info`, all from one
//! source.
//!
//! The go command asks the list anew for each file; here a source gives the whole module or
//! nothing, so that the evidence of a line can name one source. A source that has the `.mod` and
//! says 404 for the zip does not have the module.

use std::pin::Pin;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::client::HttpClient;
use super::error::FetchError;
use super::fetched::{Fetched, FetchedModule, ModuleLimits, SourceName, file_name};
use super::info::{self, MAX_INFO_BYTES, ModuleInfo};
use super::space::ScratchSpace;
use super::spool::Spooled;
use super::vcs::{Vcs, VcsError};
use crate::module::ModuleVersion;
use crate::source::{FallThrough, ListedSource, ModuleSource, SourceList, SourceUrl, UnsafePath};

/// How long a source's optional `.info` is waited for.
const INFO_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a module was not fetched.
#[derive(Debug, thiserror::Error)]
pub enum ModuleFetchError {
    /// A proxy or directory failed; see [`FetchError`].
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// Version control failed; see [`VcsError`].
    #[error(transparent)]
    Direct(#[from] VcsError),
    /// The list says `direct`, but this caller has no version control. A mistake in the
    /// configuration.
    #[error("the list of sources names \"direct\", which is not allowed here")]
    DirectNotAllowed,
    /// The path of the file leads out of the source.
    #[error(transparent)]
    Url(#[from] UnsafePath),
}

impl ModuleFetchError {
    /// Whether every source that was asked says that there is no such module.
    pub fn is_not_found(&self) -> bool {
        match self {
            ModuleFetchError::Fetch(e) => e.is_not_found(),
            ModuleFetchError::Direct(e) => e.is_not_found(),
            ModuleFetchError::DirectNotAllowed | ModuleFetchError::Url(_) => false,
        }
    }

    /// Whether it may work later by itself.
    pub fn is_transient(&self) -> bool {
        match self {
            ModuleFetchError::Fetch(e) => e.is_transient(),
            ModuleFetchError::Direct(e) => e.is_transient(),
            ModuleFetchError::DirectNotAllowed | ModuleFetchError::Url(_) => false,
        }
    }
}

impl AsRef<SourceList> for GoProxy {
    fn as_ref(&self) -> &SourceList {
        &self.list
    }
}

type Asked<'a, T> = Pin<Box<dyn Future<Output = Result<T, ModuleFetchError>> + Send + 'a>>;

/// A list of sources, ready to be asked.
#[derive(Clone, Debug)]
pub struct GoProxy {
    list: SourceList,
    client: HttpClient,
    direct: Option<Vcs>,
    limits: ModuleLimits,
    scratch: ScratchSpace,
}

impl GoProxy {
    /// `direct` serves a list that names it; zips too large for memory are kept in unnamed files in
    /// `scratch`.
    pub fn new(
        list: SourceList,
        client: HttpClient,
        direct: Option<Vcs>,
        limits: ModuleLimits,
        scratch: impl Into<ScratchSpace>,
    ) -> GoProxy {
        GoProxy { list, client, direct, limits, scratch: scratch.into() }
    }

    /// The list it asks.
    pub fn list(&self) -> &SourceList {
        &self.list
    }

    /// Fetches everything about a module version from the first source that has it.
    pub async fn fetch_module(
        &self,
        module: &ModuleVersion,
        deadline: Instant,
    ) -> Result<FetchedModule, ModuleFetchError> {
        self.walk(deadline, |source, deadline| Box::pin(self.module_from(source, module, deadline))).await
    }

    /// Fetches the `.mod` file alone. Version control gives whole modules only: see
    /// [`GoProxy::fetch_module`].
    pub async fn fetch_mod(
        &self,
        module: &ModuleVersion,
        deadline: Instant,
    ) -> Result<Fetched<Bytes>, ModuleFetchError> {
        self.fetch_file(deadline, |proxy, deadline| Box::pin(self.mod_from(proxy, module, deadline))).await
    }

    /// Fetches the `.zip` file alone; as [`GoProxy::fetch_mod`].
    pub async fn fetch_zip(
        &self,
        module: &ModuleVersion,
        deadline: Instant,
    ) -> Result<Fetched<Spooled>, ModuleFetchError> {
        self.fetch_file(deadline, |proxy, deadline| Box::pin(self.zip_from(proxy, module, deadline))).await
    }

    /// Fetches the `.info` file alone; as [`GoProxy::fetch_mod`].
    pub async fn fetch_info(
        &self,
        module: &ModuleVersion,
        deadline: Instant,
    ) -> Result<Fetched<ModuleInfo>, ModuleFetchError> {
        self.fetch_file(deadline, |proxy, deadline| Box::pin(self.info_from(proxy, module, deadline))).await
    }

    /// Fetches one file from the first proxy or directory that has it.
    async fn fetch_file<'a, T: Send + 'a>(
        &'a self,
        deadline: Instant,
        fetch: impl Fn(&'a SourceUrl, Instant) -> Asked<'a, T>,
    ) -> Result<Fetched<T>, ModuleFetchError> {
        self.walk(deadline, |source, deadline| match source {
            ModuleSource::Proxy(proxy) => {
                let (content, source) = (fetch(proxy, deadline), SourceName::Proxy(proxy.redacted()));
                Box::pin(async move { Ok(Fetched { content: content.await?, source }) })
            }
            ModuleSource::Direct => fails(ModuleFetchError::DirectNotAllowed),
        })
        .await
    }

    /// Asks the sources in order until one answers or the list says to stop; returns the most
    /// telling error.
    async fn walk<'a, T>(
        &'a self,
        deadline: Instant,
        ask: impl Fn(&'a ModuleSource, Instant) -> Asked<'a, T>,
    ) -> Result<T, ModuleFetchError> {
        let entries = self.list.entries();
        let mut best: Option<ModuleFetchError> = None;
        for (n, entry) in entries.iter().enumerate() {
            let error = match ask(&entry.source, self.share(deadline, entry, n + 1 == entries.len())).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let goes_on = error.is_not_found() || entry.fall_through == FallThrough::OnAnyError;
            best = Some(match best {
                Some(best) if rank(&best) >= rank(&error) => best,
                _ => error,
            });
            if !goes_on {
                break;
            }
        }
        Err(best.expect("a list has at least one entry"))
    }

    /// A source with a fall-back for any error gets half of what time is left: if it hangs, the
    /// others still have a chance.
    fn share(&self, deadline: Instant, entry: &ListedSource, is_last: bool) -> Instant {
        if is_last || entry.fall_through == FallThrough::OnNotFound {
            return deadline;
        }
        let now = self.client.clock().instant();
        now + deadline.saturating_duration_since(now) / 2
    }

    async fn module_from(
        &self,
        source: &ModuleSource,
        module: &ModuleVersion,
        deadline: Instant,
    ) -> Result<FetchedModule, ModuleFetchError> {
        let proxy = match source {
            ModuleSource::Proxy(proxy) => proxy,
            ModuleSource::Direct => {
                let direct = self.direct.as_ref().ok_or(ModuleFetchError::DirectNotAllowed)?;
                return Ok(direct.download(module, &self.limits, deadline).await?);
            }
        };
        let others = async {
            let info_deadline = deadline.min(self.client.clock().instant() + INFO_TIMEOUT);
            tokio::join!(self.zip_from(proxy, module, deadline), self.info_from(proxy, module, info_deadline))
        };
        let go_mod = self.mod_from(proxy, module, deadline);
        let (go_mod, (zip, info)) = if proxy.local_path().is_some() {
            tokio::join!(go_mod, others)
        } else {
            // The small file first: a module that is not there costs one request.
            (Ok(go_mod.await?), others.await)
        };
        let source = SourceName::Proxy(proxy.redacted());
        Ok(FetchedModule { source, go_mod: go_mod?, zip: zip?, info: info.ok() })
    }

    async fn mod_from(
        &self,
        proxy: &SourceUrl,
        module: &ModuleVersion,
        deadline: Instant,
    ) -> Result<Bytes, ModuleFetchError> {
        let url = proxy.join(&file_name(module, "mod"))?;
        Ok(self.client.get(&url, self.limits.max_mod_bytes, deadline).await?.body)
    }

    async fn zip_from(
        &self,
        proxy: &SourceUrl,
        module: &ModuleVersion,
        deadline: Instant,
    ) -> Result<Spooled, ModuleFetchError> {
        let url = proxy.join(&file_name(module, "zip"))?;
        Ok(self.client.get_to_spool(&url, self.limits.max_zip_bytes, deadline, &self.scratch).await?)
    }

    async fn info_from(
        &self,
        proxy: &SourceUrl,
        module: &ModuleVersion,
        deadline: Instant,
    ) -> Result<ModuleInfo, ModuleFetchError> {
        let url = proxy.join(&file_name(module, "info"))?;
        let response = self.client.get(&url, MAX_INFO_BYTES, deadline).await?;
        let bad = |why| FetchError::BadContent { url: url.redacted(), why };
        Ok(info::parse(&response.body, module.version.as_str()).map_err(bad)?)
    }
}

fn fails<'a, T: Send + 'a>(error: ModuleFetchError) -> Asked<'a, T> {
    Box::pin(std::future::ready(Err(error)))
}

/// How telling an error is, as in `cmd/go`: version control's over a proxy's failure over "not
/// found". Among equals the first counts: its source is the one that the operator put first.
fn rank(error: &ModuleFetchError) -> u8 {
    match error {
        ModuleFetchError::Fetch(e) if e.is_not_found() => 1,
        ModuleFetchError::Fetch(_) | ModuleFetchError::Url(_) => 2,
        ModuleFetchError::Direct(_) | ModuleFetchError::DirectNotAllowed => 3,
    }
}
