//! `checksum = "compute"`: the lines of a module version from the files that its source serves.
//!
//! The zip is hashed entry by entry as x/mod does, the `.mod` as the single file `go.mod`. The two
//! must belong together: a client checks them against two lines and would never notice that the
//! `.mod` by which it chose its dependencies is not the go.mod that it compiles with. A zip without
//! go.mod comes with the one that the `go` command makes up for it:
//!
//! ```text
//! module golang.org/toolchain
//! ```

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::value::RawValue;

use super::Delay;
use super::admission::MissAdmission;
use super::direct;
use super::error::{NotaryError, Remedy};
use super::limits::DEFAULT_RETRY_AFTER;
use super::sink::{HashedModule, ModuleSink};
use super::words::{for_clients, seconds};
use crate::clock::Clock;
use crate::dirhash::{HashedZip, ReadAt, ZipError, ZipLimits, hash_go_mod, hash_zip};
use crate::gosum::ModuleLines;
use crate::module::ModuleVersion;
use crate::share::Claimant;
use crate::store::Evidence;
use crate::upstream::{
    FetchError, FetchedModule, GoProxy, ListError, ModuleFetchError, ModuleInfo, RedirectRefusal, SourceKind,
    SourceName, SourceVerdict, Spooled, VcsOrigin, judge,
};

/// Hashed right here up to this size: that takes less than handing it to another thread and back.
const INLINE_ZIP_BYTES: u64 = 8 << 10;

/// Lines on their way into the log.
pub(super) struct Found {
    pub(super) lines: ModuleLines,
    pub(super) evidence: Evidence,
    /// The go.mod that the second line hashes, where it is at hand.
    pub(super) go_mod: Option<Bytes>,
}

/// What computing lines needs beside the module.
pub(super) struct Computing<'a> {
    pub(super) source: &'a GoProxy,
    pub(super) place: Arc<str>,
    pub(super) limits: &'a ZipLimits,
    pub(super) admission: &'a MissAdmission,
    pub(super) clock: &'a Clock,
    /// Takes the files when they are hashed.
    pub(super) sink: &'a dyn ModuleSink,
    /// Who waits.
    pub(super) client: Option<Claimant>,
}

impl Computing<'_> {
    /// Fetches and hashes.
    pub(super) async fn lines(
        &self,
        module: &ModuleVersion,
        deadline: Instant,
    ) -> Result<Found, NotaryError> {
        let fetched = self.source.fetch_module(module, deadline).await;
        let fetched = fetched.map_err(|error| self.no_source(module, &error))?;
        let fetched_at = self.clock.now();
        let FetchedModule { source, go_mod, zip, info } = fetched;
        let (zip, hashed) = self.hash(module, zip).await;
        let hashed = hashed.map_err(|error| match error {
            ZipError::Io(error) => NotaryError::internal(module, format!("reading the fetched zip: {error}")),
            error => self.refused(module, &source, error.to_string()),
        })?;
        check_go_mod(module, &go_mod, hashed.go_mod.as_deref())
            .map_err(|why| self.refused(module, &source, why.to_owned()))?;
        let lines = ModuleLines { module: module.clone(), zip: hashed.h1, go_mod: hash_go_mod(&go_mod) };
        let evidence = Evidence::Computed {
            source: self.source.list().redacted(),
            url: zip_url(module, &source, info.as_ref()),
            fetched_at,
            zip_sha256: zip.sha256.iter().map(|byte| format!("{byte:02x}")).collect(),
            zip_bytes: zip.size,
            origin: info.as_ref().and_then(|info| info.origin.as_ref()).map(kept_origin),
        };
        let info = info.map(|info| info.json);
        self.sink.take(HashedModule { lines: lines.clone(), source, go_mod: go_mod.clone(), zip, info });
        Ok(Found { lines, evidence, go_mod: Some(go_mod) })
    }

    async fn hash(&self, module: &ModuleVersion, zip: Spooled) -> (Spooled, Result<HashedZip, ZipError>) {
        if zip.size <= INLINE_ZIP_BYTES {
            let hashed = hash_zip(&ZipBytes(&zip), module, self.limits);
            return (zip, hashed);
        }
        let processor = self.admission.hashing(self.client).await;
        let (module, limits) = (module.clone(), self.limits.clone());
        let hashing = tokio::task::spawn_blocking(move || {
            // Given back when the thread is done, whatever becomes of the flight.
            let _processor = processor;
            let hashed = hash_zip(&ZipBytes(&zip), &module, &limits);
            (zip, hashed)
        });
        hashing.await.expect("hashing does not panic, and the runtime outlives its tasks")
    }

    fn refused(&self, module: &ModuleVersion, source: &SourceName, why: String) -> NotaryError {
        let place = for_clients(&source.to_string()).into();
        NotaryError::Refused { module: module.clone(), place, why: why.into(), remedy: Remedy::Repair }
    }

    /// No source of the list gave the module.
    fn no_source(&self, module: &ModuleVersion, error: &ListError) -> NotaryError {
        if error.failures().len() > 1 {
            tracing::info!(%module, %error, "no source of the route gave the module");
        }
        let (source, best) = error.best();
        let place: Arc<str> = match best.is_not_found() {
            // All of them say so.
            true => self.place.clone(),
            false => for_clients(&source.to_string()).into(),
        };
        let verdict = match best {
            ModuleFetchError::Fetch(error) => judge(SourceKind::Modules, error).1,
            ModuleFetchError::Direct(error) => return direct::failed(module, place, error),
            ModuleFetchError::TwoSources { .. } | ModuleFetchError::Url(_) => SourceVerdict::Unusable,
            ModuleFetchError::DirectNotAllowed => SourceVerdict::OurFault,
        };
        let others = error.failures().iter().filter(|(_, other)| !std::ptr::eq(other, best));
        let others =
            others.map(|(source, other)| format!("\n{}: {}", for_clients(&source.to_string()), cause(other)));
        let why: Arc<str> = (cause(best) + &others.collect::<String>()).into();
        let (module, said) = (module.clone(), error_said(best));
        let refused = |remedy| NotaryError::Refused {
            module: module.clone(),
            place: place.clone(),
            why: why.clone(),
            remedy,
        };
        match verdict {
            SourceVerdict::NotFound => NotaryError::NotFound { module, place, said, max_age: Duration::ZERO },
            SourceVerdict::AccessRefused => NotaryError::Forbidden { module, place, said },
            SourceVerdict::NoSpace => {
                tracing::error!(%module, error = %best, "scratch has no space left: a look-up was refused");
                NotaryError::TryLater { module, why: Delay::NoSpace, retry_after: DEFAULT_RETRY_AFTER }
            }
            SourceVerdict::Later => {
                let retry_after = match best {
                    ModuleFetchError::Fetch(error) => error.retry_after(),
                    _ => None,
                };
                let retry_after = retry_after.unwrap_or(DEFAULT_RETRY_AFTER);
                NotaryError::TryLater { module, why: Delay::Source { place, why }, retry_after }
            }
            SourceVerdict::Rejected => refused(Remedy::AskSource),
            SourceVerdict::NotAllowedHere => refused(allow(best).unwrap_or(Remedy::Repair)),
            SourceVerdict::Unusable => refused(Remedy::Repair),
            SourceVerdict::OurFault => NotaryError::internal(&module, best),
        }
    }
}

/// How the operator of this server allows what was refused, where a setting decides it.
fn allow(error: &ModuleFetchError) -> Option<Remedy> {
    let ModuleFetchError::Fetch(error) = error else { return None };
    let change = match error {
        FetchError::Redirect { to, refusal: RedirectRefusal::Host, .. } => {
            format!("adds \"{}\" to hosts in [redirects], if modules may come from there", to.host())
        }
        FetchError::Redirect { first, refusal: RedirectRefusal::PrivateAddress, .. } => {
            format!(
                "adds \"{}\" to private_sources in [redirects], if its files are stored in a private network",
                first.host()
            )
        }
        FetchError::TooLarge { url, .. } if url.as_str().split('?').next()?.ends_with(".zip") => {
            "raises zip_bytes in [limits]".to_owned()
        }
        _ => return None,
    };
    Some(Remedy::Allow { change: change.into() })
}

/// What the source said in words.
fn error_said(error: &ModuleFetchError) -> crate::upstream::UpstreamMessage {
    match error {
        ModuleFetchError::Fetch(
            FetchError::NotFound { said, .. }
            | FetchError::Forbidden { said, .. }
            | FetchError::Unavailable { said, .. }
            | FetchError::UnexpectedStatus { said, .. },
        ) => said.clone(),
        _ => Default::default(),
    }
}

/// What happened, for clients: without local paths, and without addresses but the one to which a
/// redirect leads.
fn cause(error: &ModuleFetchError) -> String {
    let error = match error {
        ModuleFetchError::Fetch(error) => error,
        ModuleFetchError::TwoSources { go_mod, zip } => {
            return format!(
                "{} has another .mod file for it than {}, and go would take one file from each",
                for_clients(&go_mod.to_string()),
                for_clients(&zip.to_string())
            );
        }
        other => return other.to_string(),
    };
    match error {
        FetchError::NotFound { status, said, .. }
        | FetchError::Forbidden { status, said, .. }
        | FetchError::Unavailable { status, said, .. }
        | FetchError::UnexpectedStatus { status, said, .. } => {
            format!("it answered with status {status}{said}")
        }
        // Only checksum databases are left alone, or found not to be passed on.
        FetchError::Postponed { .. } | FetchError::NotPassedOn { .. } => "it cannot be asked now".to_owned(),
        FetchError::Unreachable { stage, .. } => format!("it cannot be reached ({stage})"),
        FetchError::Broken { received, .. } => format!("its answer broke off after {received} bytes"),
        FetchError::Timeout { waiting, after, .. } => {
            format!("it gave nothing for {} s while {waiting} was awaited", seconds(*after))
        }
        FetchError::TooLarge { max_bytes, .. } => {
            format!("a file is larger than the allowed {max_bytes} bytes")
        }
        FetchError::Redirect { to, refusal, .. } => {
            format!("its redirect to \"{}\" is not followed: {refusal}", to.host())
        }
        FetchError::BadContent { why, .. } => format!("its answer is no file: {why}"),
        FetchError::OtherVersion { asked, got, .. } => {
            format!("its .info for {asked} is about version {got}")
        }
        FetchError::Unnameable { .. } => "no file there can have this name".to_owned(),
        FetchError::NoSpace { .. } | FetchError::Local { .. } => "it did not give the file".to_owned(),
    }
}

/// Whether the `.mod` that the source serves belongs to the zip.
fn check_go_mod(module: &ModuleVersion, served: &[u8], in_zip: Option<&[u8]>) -> Result<(), &'static str> {
    match in_zip {
        Some(in_zip) if in_zip == served => Ok(()),
        Some(_) => Err("its .mod file differs from the go.mod in its zip"),
        // A module path needs no quotes in a go.mod.
        None if served == format!("module {}\n", module.path).as_bytes() => Ok(()),
        None => Err(
            "its zip has no go.mod, and its .mod file is not the single module line that go makes up then",
        ),
    }
}

/// Where the zip came from, without credentials.
fn zip_url(module: &ModuleVersion, source: &SourceName, info: Option<&ModuleInfo>) -> String {
    match source {
        SourceName::Proxy(base) => {
            let (base, query) =
                base.as_str().split_at(base.as_str().find('?').unwrap_or(base.as_str().len()));
            let (path, version) = (module.path.escaped(), module.version.escaped());
            format!("{}/{path}/@v/{version}.zip{query}", base.trim_end_matches('/'))
        }
        SourceName::Direct => {
            let origin = info.and_then(|info| info.origin.as_ref()).map(|origin| origin.url.clone());
            origin.filter(|url| !url.is_empty()).unwrap_or_else(|| "direct".to_owned())
        }
    }
}

/// The origin as it is kept for ever, in the go command's own fields.
fn kept_origin(origin: &VcsOrigin) -> Box<RawValue> {
    serde_json::value::to_raw_value(origin).expect("strings are JSON")
}

/// A fetched zip, readable at any position by several threads.
struct ZipBytes<'a>(&'a Spooled);

impl ZipBytes<'_> {
    fn file(&self) -> &File {
        self.0.file().expect("a body is in memory or in a file")
    }
}

impl ReadAt for ZipBytes<'_> {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.size)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match self.0.bytes() {
            Some(bytes) => bytes[..].read_exact_at(buffer, offset),
            None => self.file().read_exact_at(buffer, offset),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::path::Path;
    use std::sync::Mutex;

    use super::*;
    use crate::notary::limits::NotaryLimits;
    use crate::upstream::{ClientOptions, HttpClient, MEMORY_BYTES, ModuleLimits};

    #[test]
    fn the_go_mod_of_a_zip_without_one_is_the_one_that_go_makes_up() {
        let toolchain =
            ModuleVersion::from_parts("golang.org/toolchain", "v0.0.1-go1.26.8.linux-amd64").unwrap();
        assert!(check_go_mod(&toolchain, b"module golang.org/toolchain\n", None).is_ok());
        for other in [
            "",
            "module golang.org/toolchain",
            "module golang.org/toolchain\n\ngo 1.26\n",
            "module a.example/b\n",
        ] {
            assert!(check_go_mod(&toolchain, other.as_bytes(), None).is_err(), "{other:?}");
        }
        assert!(check_go_mod(&toolchain, b"module x\n", Some(b"module x\n")).is_ok());
        assert!(check_go_mod(&toolchain, b"module x\n", Some(b"module x")).is_err());
    }

    #[test]
    fn the_address_of_a_zip_hides_credentials() {
        let module = ModuleVersion::from_parts("corp.example/M", "v1.0.0").unwrap();
        let base = crate::source::SourceUrl::parse("https://ci:s3cret@goproxy.example/go/?token=t").unwrap();
        let url = zip_url(&module, &SourceName::Proxy(base.redacted()), None);
        assert_eq!(url, "https://***@goproxy.example/go/corp.example/!m/@v/v1.0.0.zip?***");
        assert_eq!(zip_url(&module, &SourceName::Direct, None), "direct");
    }

    #[derive(Default)]
    struct Kept(Mutex<Vec<HashedModule>>);

    impl ModuleSink for Kept {
        fn take(&self, module: HashedModule) {
            self.0.lock().unwrap().push(module);
        }
    }

    /// Writes the files of a module proxy, with a zip that does not compress.
    fn write_module(
        directory: &Path,
        module: &ModuleVersion,
        go_mod: &str,
        bytes: usize,
    ) -> (Vec<u8>, String) {
        let mut zip = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
        let stored =
            zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        for (name, content) in [("go.mod", format!("module {}\n", module.path)), ("m.go", "x".repeat(bytes))]
        {
            zip.start_file(format!("{module}/{name}"), stored).unwrap();
            zip.write_all(content.as_bytes()).unwrap();
        }
        let zip = zip.finish().unwrap().into_inner();
        let info = format!("{{\"Version\":\"{}\"}}", module.version);
        let versions = directory.join(module.path.escaped()).join("@v");
        std::fs::create_dir_all(&versions).unwrap();
        for (extension, content) in
            [("mod", go_mod.as_bytes()), ("zip", zip.as_slice()), ("info", info.as_bytes())]
        {
            std::fs::write(versions.join(format!("{}.{extension}", module.version)), content).unwrap();
        }
        (zip, info)
    }

    fn read(zip: &Spooled) -> Vec<u8> {
        let mut bytes = Vec::new();
        zip.reader().unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    }

    /// In memory and hashed here, in memory and hashed on another thread, in a file.
    #[tokio::test]
    async fn the_sink_takes_exactly_the_bytes_that_were_hashed() {
        let directory = tempfile::tempdir().unwrap();
        let module: ModuleVersion = "corp.example/m@v1.0.0".parse().unwrap();
        let url = format!("file://{}", directory.path().display());
        let source = GoProxy::new(
            url.parse().unwrap(),
            HttpClient::new(ClientOptions::default()).unwrap(),
            None,
            ModuleLimits::default(),
            directory.path().to_owned(),
        );
        let (clock, limits, kept) = (Clock::system(), NotaryLimits::default(), Kept::default());
        let admission = MissAdmission::new(&limits, &[], &clock);
        let computing = Computing {
            source: &source,
            place: "here".into(),
            limits: &limits.zip,
            admission: &admission,
            clock: &clock,
            sink: &kept,
            client: None,
        };
        let deadline = clock.instant() + Duration::from_secs(20);
        let go_mod = "module corp.example/m\n";
        for bytes in [10, 100 << 10, 2 * MEMORY_BYTES] {
            let (zip, info) = write_module(directory.path(), &module, go_mod, bytes);
            let found = computing.lines(&module, deadline).await.unwrap();
            let taken = kept.0.lock().unwrap().pop().expect("the sink takes what was hashed");
            assert_eq!(taken.zip.bytes().is_none(), bytes > MEMORY_BYTES);
            assert!(read(&taken.zip) == zip, "{bytes}");
            assert_eq!((&*taken.go_mod, taken.info.as_deref()), (go_mod.as_bytes(), Some(info.as_bytes())));
            assert_eq!(taken.lines, found.lines);
            assert_eq!(hash_zip(&zip[..], &module, &limits.zip).unwrap().h1, taken.lines.zip);
            assert_eq!(hash_go_mod(go_mod.as_bytes()), taken.lines.go_mod);
        }
        // What does not belong together is never handed on.
        write_module(directory.path(), &module, "module corp.example/other\n", 10);
        assert!(computing.lines(&module, deadline).await.is_err());
        assert!(kept.0.lock().unwrap().is_empty());
    }
}
