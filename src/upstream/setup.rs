//! Why there is no client: what the operator, the environment or the machine gave cannot be used.

use std::path::PathBuf;

/// Why the client could not be made: the operator's configuration or the machine's.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A file of root certificates cannot be used.
    #[error(
        "root certificates {}: {why}\n  fix: give a PEM file with the authority's certificate, which begins with -----BEGIN CERTIFICATE-----",
        path.display()
    )]
    Roots {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A proxy URL from the environment cannot be used. The URL is not shown: it may hold a
    /// password.
    #[error(
        "the environment variable {variable} {why}\n  fix: set it to the proxy's URL, as in http://proxy.corp.example:3128, or unset it"
    )]
    Proxy {
        /// The environment variable.
        variable: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The user agent cannot be sent, or TLS cannot be set up.
    #[error("HTTP client: {why}")]
    Setup {
        /// The cause.
        why: String,
    },
    /// This machine has no certificates of authorities.
    #[error("no certificate of an authority was found on this machine{}", advice())]
    NoRoots,
}

/// Says where certificates were looked for, and what to do.
fn advice() -> String {
    let named = ["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter().filter_map(|name| {
        let value = std::env::var_os(name)?;
        Some(format!("{name}=\"{}\"", value.to_string_lossy()))
    });
    let named: Vec<String> = named.collect();
    if named.is_empty() {
        return "\n  fix: install the system's certificates (Debian: ca-certificates), or name a PEM file with --cacert FILE, `roots` or \
                SSL_CERT_FILE"
            .to_owned();
    }
    format!(
        ", which has {}\n  fix: correct it, or unset it, so that the system's certificates are used",
        named.join(" and ")
    )
}
