//! Fetching a module version through a GOPROXY list: `.mod`, `.zip` and `.info`, all from one
//! source.
//!
//! The go command asks the list anew for each file; here a source gives the whole module or
//! nothing, so that the evidence of a line can name one source. A source that has the `.mod` and
//! says 404 for the zip does not have the module. The go command would take its `.mod` all the
//! same, so the `.mod` of the source that has the zip must be the same file.
//!
//! An `.info` is not needed: without one, or with one that cannot be read, a build works. One about
//! another version is refused by the go command, and so it is here.

use std::fmt;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::client::HttpClient;
use super::error::FetchError;
use super::fetched::{Fetched, FetchedModule, ModuleLimits, SourceName, file_name};
use super::info::{self, InfoError, MAX_INFO_BYTES, ModuleInfo};
use super::judge::{NextSource, SourceKind, judge};
use super::space::ScratchSpace;
use super::spool::Spooled;
use super::vcs::{Vcs, VcsError};
use crate::module::ModuleVersion;
use crate::source::{FallThrough, ListedSource, ModuleSource, SourceList, SourceUrl, UnsafePath};

/// How long a source's optional `.info` is waited for.
const INFO_TIMEOUT: Duration = Duration::from_secs(10);

/// Why one source gave no module.
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
    /// One source has the `.mod` alone, a later one both files, and the two `.mod` files differ. The
    /// go command takes each file from the first source that has it.
    #[error(
        "{go_mod} has another .mod file for this version than {zip}, which has the zip, and the go command would take one from \
         each"
    )]
    TwoSources {
        /// The source that has the `.mod` alone.
        go_mod: SourceName,
        /// The source that has both.
        zip: SourceName,
    },
}

/// Why no source of a list gave a module: what each that was asked said, in order.
#[derive(Debug)]
pub struct ListError {
    failures: Vec<(SourceName, ModuleFetchError)>,
}

impl ListError {
    fn of(source: SourceName, error: ModuleFetchError) -> ListError {
        ListError { failures: vec![(source, error)] }
    }

    /// The most telling failure, as in `cmd/go`: version control's over a proxy's over "not found".
    /// Among equals the first counts: its source is the one that the operator put first.
    pub fn best(&self) -> (&SourceName, &ModuleFetchError) {
        let best = |best: &'_ (SourceName, ModuleFetchError), other: &'_ (SourceName, ModuleFetchError)| {
            rank(&other.1) > rank(&best.1)
        };
        let mut failures = self.failures.iter();
        let first = failures.next().expect("a list has at least one entry");
        let (source, error) =
            failures.fold(first, |so_far, next| if best(so_far, next) { next } else { so_far });
        (source, error)
    }

    /// What each source said, in the order in which they were asked; never empty.
    pub fn failures(&self) -> &[(SourceName, ModuleFetchError)] {
        &self.failures
    }

    /// Whether every source that was asked says that there is no such module.
    pub fn is_not_found(&self) -> bool {
        self.best().1.is_not_found()
    }

    /// Whether it may work later by itself.
    pub fn is_transient(&self) -> bool {
        self.best().1.is_transient()
    }
}

impl fmt::Display for ListError {
    /// One line per source.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (_, error)) in self.failures.iter().enumerate() {
            write!(f, "{}{error}", if n == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for ListError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.best().1)
    }
}

impl ModuleFetchError {
    /// Whether the source says that there is no such module.
    pub fn is_not_found(&self) -> bool {
        match self {
            ModuleFetchError::Fetch(e) => e.is_not_found(),
            ModuleFetchError::Direct(e) => e.is_not_found(),
            ModuleFetchError::DirectNotAllowed
            | ModuleFetchError::Url(_)
            | ModuleFetchError::TwoSources { .. } => false,
        }
    }

    /// Whether it may work later by itself.
    pub fn is_transient(&self) -> bool {
        match self {
            ModuleFetchError::Fetch(e) => e.is_transient(),
            ModuleFetchError::Direct(e) => e.is_transient(),
            ModuleFetchError::DirectNotAllowed
            | ModuleFetchError::Url(_)
            | ModuleFetchError::TwoSources { .. } => false,
        }
    }
}

impl ModuleFetchError {
    /// When the next source of the list is asked. Version control is the last one of every list.
    fn next_source(&self) -> NextSource {
        match self {
            ModuleFetchError::Fetch(error) => judge(SourceKind::Modules, error).0,
            ModuleFetchError::Direct(_)
            | ModuleFetchError::DirectNotAllowed
            | ModuleFetchError::Url(_)
            | ModuleFetchError::TwoSources { .. } => NextSource::Never,
        }
    }

    fn is_other_version(&self) -> bool {
        matches!(self, ModuleFetchError::Fetch(FetchError::OtherVersion { .. }))
    }
}

impl AsRef<SourceList> for GoProxy {
    fn as_ref(&self) -> &SourceList {
        &self.list
    }
}

/// The `.mod` of the first source that has it and not the zip.
type LoneMod = Mutex<Option<(SourceName, Bytes)>>;

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
    ) -> Result<FetchedModule, ListError> {
        let lone_mod = LoneMod::default();
        let (fetched, wrong_info) = self
            .walk(deadline, |source, deadline| {
                Box::pin(self.module_from(source, module, deadline, &lone_mod))
            })
            .await?;
        if let Some((go_mod, content)) = lone_mod.into_inner().unwrap_or_else(PoisonError::into_inner)
            && content != fetched.go_mod
        {
            let zip = fetched.source.clone();
            return Err(ListError::of(zip.clone(), ModuleFetchError::TwoSources { go_mod, zip }));
        }
        let Some(wrong_info) = wrong_info else { return Ok(fetched) };
        // The go command asks the list for the .info alone: a source after a bar may have it.
        let deadline = deadline.min(self.client.clock().instant() + INFO_TIMEOUT);
        match self.fetch_info(module, deadline).await {
            Err(error) if error.best().1.is_other_version() => {
                Err(ListError::of(fetched.source, wrong_info.into()))
            }
            _ => Ok(fetched),
        }
    }

    /// Fetches the `.mod` file alone. Version control gives whole modules only: see
    /// [`GoProxy::fetch_module`].
    pub async fn fetch_mod(
        &self,
        module: &ModuleVersion,
        deadline: Instant,
    ) -> Result<Fetched<Bytes>, ListError> {
        self.fetch_file(deadline, |proxy, deadline| Box::pin(self.mod_from(proxy, module, deadline))).await
    }

    /// Fetches the `.zip` file alone; as [`GoProxy::fetch_mod`].
    pub async fn fetch_zip(
        &self,
        module: &ModuleVersion,
        deadline: Instant,
    ) -> Result<Fetched<Spooled>, ListError> {
        self.fetch_file(deadline, |proxy, deadline| Box::pin(self.zip_from(proxy, module, deadline))).await
    }

    /// Fetches the `.info` file alone; as [`GoProxy::fetch_mod`].
    pub async fn fetch_info(
        &self,
        module: &ModuleVersion,
        deadline: Instant,
    ) -> Result<Fetched<ModuleInfo>, ListError> {
        self.fetch_file(deadline, |proxy, deadline| Box::pin(self.info_from(proxy, module, deadline))).await
    }

    /// Fetches one file from the first proxy or directory that has it.
    async fn fetch_file<'a, T: Send + 'a>(
        &'a self,
        deadline: Instant,
        fetch: impl Fn(&'a SourceUrl, Instant) -> Asked<'a, T>,
    ) -> Result<Fetched<T>, ListError> {
        self.walk(deadline, |source, deadline| match source {
            ModuleSource::Proxy(proxy) => {
                let (content, source) = (fetch(proxy, deadline), SourceName::Proxy(proxy.redacted()));
                Box::pin(async move { Ok(Fetched { content: content.await?, source }) })
            }
            ModuleSource::Direct => fails(ModuleFetchError::DirectNotAllowed),
        })
        .await
    }

    /// Asks the sources in order until one answers or the list says to stop.
    async fn walk<'a, T>(
        &'a self,
        deadline: Instant,
        ask: impl Fn(&'a ModuleSource, Instant) -> Asked<'a, T>,
    ) -> Result<T, ListError> {
        let entries = self.list.entries();
        let mut failures = Vec::new();
        for (n, entry) in entries.iter().enumerate() {
            let error = match ask(&entry.source, self.share(deadline, entry, n + 1 == entries.len())).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let goes_on = match error.next_source() {
                NextSource::Always => true,
                NextSource::AfterBar => entry.fall_through == FallThrough::OnAnyError,
                NextSource::Never => false,
            };
            failures.push((SourceName::of(&entry.source), error));
            if !goes_on {
                break;
            }
        }
        Err(ListError { failures })
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

    /// The module, and how its `.info` is about another version if it is.
    async fn module_from(
        &self,
        source: &ModuleSource,
        module: &ModuleVersion,
        deadline: Instant,
        lone_mod: &LoneMod,
    ) -> Result<(FetchedModule, Option<FetchError>), ModuleFetchError> {
        let proxy = match source {
            ModuleSource::Proxy(proxy) => proxy,
            ModuleSource::Direct => {
                let direct = self.direct.as_ref().ok_or(ModuleFetchError::DirectNotAllowed)?;
                return Ok((direct.download(module, &self.limits, deadline).await?, None));
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
        let (go_mod, source) = (go_mod?, SourceName::Proxy(proxy.redacted()));
        let zip = zip.inspect_err(|_| {
            let mut lone_mod = lone_mod.lock().unwrap_or_else(PoisonError::into_inner);
            lone_mod.get_or_insert_with(|| (source.clone(), go_mod.clone()));
        })?;
        let (info, wrong) = match info {
            Ok(info) => (Some(info), None),
            Err(ModuleFetchError::Fetch(error @ FetchError::OtherVersion { .. })) => (None, Some(error)),
            Err(_) => (None, None),
        };
        Ok((FetchedModule { source, go_mod, zip, info }, wrong))
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
        let bad = |error| match error {
            InfoError::OtherVersion { got } => {
                let asked = module.version.to_string();
                FetchError::OtherVersion { url: url.redacted(), asked, got }
            }
            InfoError::Malformed { why } => FetchError::BadContent { url: url.redacted(), why, ours: false },
        };
        Ok(info::parse(&response.body, module.version.as_str()).map_err(bad)?)
    }
}

fn fails<'a, T: Send + 'a>(error: ModuleFetchError) -> Asked<'a, T> {
    Box::pin(std::future::ready(Err(error)))
}

/// How telling an error is: see [`ListError::best`].
fn rank(error: &ModuleFetchError) -> u8 {
    match error {
        ModuleFetchError::Fetch(e) if e.is_not_found() => 1,
        ModuleFetchError::Fetch(_) | ModuleFetchError::Url(_) | ModuleFetchError::TwoSources { .. } => 2,
        ModuleFetchError::Direct(_) | ModuleFetchError::DirectNotAllowed => 3,
    }
}
