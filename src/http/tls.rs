//! The server's certificate: `[tls] cert, key`, two PEM files, through rustls with aws-lc-rs as its only provider.
//!
//! `cert` holds the server's certificate first and then those between it and its root; `key` holds its private
//! key (PKCS #8, PKCS #1 or SEC 1). TLS 1.2 and 1.3, `h2` and `http/1.1` by ALPN.
//!
//! [`TlsKeeper::reload`] looks whether the files have changed and takes the new pair for new connections; those that
//! are open keep theirs. Renewal tools write two files one after the other, so a pair that does not fit together is
//! an error that changes nothing, and the next call tries again. A reload of the configuration may name other files: a
//! [`TlsPair`] is read and checked first, and [`TlsKeeper::replace`] cannot fail.

use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{InconsistentKeys, ServerConfig};
use tokio_rustls::TlsAcceptor;

use super::metrics::{MetricsSource, Sample, SampleValue};
use super::validity::Validity;
use crate::config::is_exposed;

/// A PEM file that is longer is refused: a chain of ten certificates has about 20 KB.
const PEM_BYTES_MAX: u64 = 1 << 20;

/// Why a pair of files cannot be used. The sentence names the file and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read; check its path and who may read it.
    #[error("cannot read the TLS {role} file {}: {source}", path.display())]
    Unreadable {
        /// `certificate` or `key`.
        role: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// Others can read or replace the key.
    #[error(
        "the TLS key file {} has mode {mode:04o}: others can read or replace it\n  fix: chmod 600 '{}', or mode 0640 where root owns it and the group is that of the service; renew the certificate if the key was readable for long",
        path.display(), path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode bits.
        mode: u32,
    },
    /// The file is far longer than any certificate chain or key.
    #[error("the TLS {role} file {} is longer than {PEM_BYTES_MAX} bytes", path.display())]
    TooLong {
        /// `certificate` or `key`.
        role: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// The file is not PEM.
    #[error("the TLS {role} file {} is not valid PEM: {why}", path.display())]
    NotPem {
        /// `certificate` or `key`.
        role: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong, without any byte of the file: it may be a key.
        why: &'static str,
    },
    /// The file is PEM without what is needed from it.
    #[error("the TLS {role} file {} holds no {role} in PEM form ({expected})", path.display())]
    Missing {
        /// `certificate` or `key`.
        role: &'static str,
        /// The file.
        path: PathBuf,
        /// The line that should begin it.
        expected: &'static str,
    },
    /// The key belongs to another certificate. During a renewal this heals when the second file is written.
    #[error("the key in {} does not belong to the first certificate in {}", key.display(), cert.display())]
    Mismatch {
        /// The certificate file.
        cert: PathBuf,
        /// The key file.
        key: PathBuf,
    },
    /// rustls refuses the pair (an unknown kind of key, a certificate that cannot be parsed).
    #[error("the certificate in {} with the key in {} cannot be used: {source}", cert.display(), key.display())]
    Unusable {
        /// The certificate file.
        cert: PathBuf,
        /// The key file.
        key: PathBuf,
        /// The cause.
        source: rustls::Error,
    },
}

/// What [`TlsKeeper::reload`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// The files are those in use.
    Unchanged,
    /// New connections get the new certificate.
    Replaced,
}

/// A certificate with its key, read and checked.
pub struct TlsPair {
    files: FilePair,
    config: Arc<ServerConfig>,
    validity: Option<Validity>,
}

impl fmt::Debug for TlsPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsPair").field("files", &self.files).finish_non_exhaustive()
    }
}

/// Two files, and what they looked like when they were read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FilePair {
    cert: PathBuf,
    key: PathBuf,
    marks: [FileMark; 2],
}

/// Enough to see that a file was written or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileMark {
    modified: (i64, i64),
    inode: u64,
    bytes: u64,
}

impl FilePair {
    fn look_at(cert: PathBuf, key: PathBuf) -> Result<FilePair, TlsError> {
        let marks = [mark("certificate", &cert)?, mark("key", &key)?];
        Ok(FilePair { cert, key, marks })
    }
}

impl TlsPair {
    /// Reads the pair of PEM files.
    pub fn read(cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Result<TlsPair, TlsError> {
        // The marks are taken first: what is written after them is seen by the next reload.
        TlsPair::of(FilePair::look_at(cert.into(), key.into())?)
    }

    fn of(files: FilePair) -> Result<TlsPair, TlsError> {
        let (config, validity) = read_pair(&files.cert, &files.key)?;
        Ok(TlsPair { files, config: Arc::new(config), validity })
    }

    /// Returns the time in which every certificate of the chain is valid.
    pub fn validity(&self) -> Option<Validity> {
        self.validity
    }

    /// Whether both were read from the same files in the same state.
    pub fn has_files_of(&self, other: &TlsPair) -> bool {
        self.files == other.files
    }

    /// Returns the file of the certificate.
    pub fn cert(&self) -> &Path {
        &self.files.cert
    }
}

/// The certificate in use, and the files that it came from.
#[derive(Debug)]
pub struct TlsKeeper {
    current: ArcSwap<TlsPair>,
    /// Held while the pair is replaced, so that two replacements do not race.
    replacing: Mutex<()>,
}

impl TlsKeeper {
    /// Reads the pair of PEM files.
    pub fn load(cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Result<TlsKeeper, TlsError> {
        TlsPair::read(cert, key).map(TlsKeeper::new)
    }

    /// Begins with this pair.
    pub fn new(pair: TlsPair) -> TlsKeeper {
        TlsKeeper { current: ArcSwap::from_pointee(pair), replacing: Mutex::new(()) }
    }

    /// Takes the files again if they have changed. An error leaves the pair in use; the next call tries again.
    pub fn reload(&self) -> Result<Reload, TlsError> {
        let _alone = self.alone();
        let before = self.current();
        let found = FilePair::look_at(before.files.cert.clone(), before.files.key.clone())?;
        if found == before.files {
            return Ok(Reload::Unchanged);
        }
        self.current.store(Arc::new(TlsPair::of(found)?));
        Ok(Reload::Replaced)
    }

    /// Takes another pair, for new connections.
    pub fn replace(&self, pair: TlsPair) {
        let _alone = self.alone();
        self.current.store(Arc::new(pair));
    }

    /// Returns the pair in use.
    pub fn current(&self) -> Arc<TlsPair> {
        self.current.load_full()
    }

    /// For the next connection.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current.load().config.clone())
    }

    fn alone(&self) -> MutexGuard<'_, ()> {
        self.replacing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The certificate's figures for the metrics page.
#[derive(Debug)]
pub struct TlsFigures(pub Arc<TlsKeeper>);

impl MetricsSource for TlsFigures {
    fn samples(&self) -> Vec<Sample> {
        let seconds = |validity: Validity| validity.not_after.as_second() as f64;
        let figure = |value| {
            let (name, help) = (
                "tls_certificate_not_after_timestamp_seconds",
                "When the first certificate of the served chain expires",
            );
            Sample::new(name, help, SampleValue::Gauge(value))
        };
        self.0.current().validity().map(|validity| figure(seconds(validity))).into_iter().collect()
    }
}

fn mark(role: &'static str, path: &Path) -> Result<FileMark, TlsError> {
    let found = std::fs::metadata(path).map_err(|source| TlsError::Unreadable {
        role,
        path: path.to_owned(),
        source,
    })?;
    Ok(FileMark { modified: (found.mtime(), found.mtime_nsec()), inode: found.ino(), bytes: found.len() })
}

fn read_pair(cert_path: &Path, key_path: &Path) -> Result<(ServerConfig, Option<Validity>), TlsError> {
    let (cert, key) = (cert_path.to_owned(), key_path.to_owned());
    let chain = read_certificates(cert_path)?;
    let validity = chain.iter().filter_map(|one| Validity::of(one)).reduce(Validity::and);
    let private_key = read_key(key_path)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let built = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private_key));
    let mut config = built.map_err(|source| match source {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => TlsError::Mismatch { cert, key },
        source => TlsError::Unusable { cert, key, source },
    })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok((config, validity))
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    const ROLE: &str = "certificate";
    let (pem, _) = read_file(ROLE, path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.map_err(|error| not_pem(ROLE, path, &error))?;
    if chain.is_empty() {
        let expected = "-----BEGIN CERTIFICATE-----";
        return Err(TlsError::Missing { role: ROLE, path: path.to_owned(), expected });
    }
    Ok(chain)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    const ROLE: &str = "key";
    let (pem, found) = read_file(ROLE, path)?;
    let pem = zeroize::Zeroizing::new(pem);
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| match error {
        PemError::NoItemsFound => {
            let expected = "-----BEGIN PRIVATE KEY-----, not encrypted";
            TlsError::Missing { role: ROLE, path: path.to_owned(), expected }
        }
        error => not_pem(ROLE, path, &error),
    })?;
    // First of all it must be a key: a certificate may be read by everybody.
    if is_exposed(&found) {
        return Err(TlsError::Exposed { path: path.to_owned(), mode: found.mode() & 0o7777 });
    }
    Ok(key)
}

fn read_file(role: &'static str, path: &Path) -> Result<(Vec<u8>, Metadata), TlsError> {
    use std::io::Read as _;
    let unreadable = |source| TlsError::Unreadable { role, path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let found = file.metadata().map_err(unreadable)?;
    let length = file.take(PEM_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if length as u64 > PEM_BYTES_MAX {
        return Err(TlsError::TooLong { role, path: path.to_owned() });
    }
    Ok((bytes, found))
}

/// Says what is wrong with a PEM file in words of our own: the parser's quote lines of the file.
fn not_pem(role: &'static str, path: &Path, error: &PemError) -> TlsError {
    let why = match error {
        PemError::MissingSectionEnd { .. } => "a section has no END line (is the file complete?)",
        PemError::IllegalSectionStart { .. } => "a BEGIN line is malformed",
        PemError::Base64Decode(_) => "the base64 between BEGIN and END is malformed",
        PemError::NoItemsFound => "nothing in it is in PEM form",
        _ => "it cannot be parsed",
    };
    TlsError::NotPem { role, path: path.to_owned(), why }
}
