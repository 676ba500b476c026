//! What TLS said when a handshake failed, in the words of somebody who has to mend it.

use jiff::Timestamp;
use rustls::pki_types::UnixTime;
use rustls::{CertificateError, Error};

/// A cause, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TlsFault {
    pub(super) why: String,
    pub(super) fix: Fix,
}

/// The one safe thing to do about a server that cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fix {
    /// Trust the authority that signed the server's certificate.
    Trust,
    /// The server's operator has to make another certificate.
    Reissue,
    /// The certificate's dates and this machine's clock disagree.
    Dates,
    /// The URL has another name than the certificate.
    Name,
    /// The port does not speak TLS.
    NotTls,
    /// The port speaks TLS, and the URL says http.
    NotPlain,
    /// The name has no address.
    Resolve,
    /// Nobody accepts connections at the address.
    Connect,
    /// The proxy, or the variable that names it, is at fault.
    Proxy,
    /// The proxy asks for a login.
    ProxyLogin,
    /// The proxy does not connect to the host: it may not, or cannot.
    ProxyRefusal,
}

impl Fix {
    /// Returns the advice, as a clause that follows "fix: ".
    pub fn advice(self) -> &'static str {
        match self {
            Fix::Trust => {
                "get the authority's certificate from whoever runs the server, and name it with --cacert FILE, `roots` in the \
                 configuration, or SSL_CERT_FILE"
            }
            Fix::Reissue => "whoever runs the server must give it another certificate",
            Fix::Dates => {
                "whoever runs the server must renew its certificate; if the time of this machine is wrong, set its clock"
            }
            Fix::Name => {
                "use a name of the certificate in the URL, or have whoever runs the server make a certificate for this name"
            }
            Fix::NotTls => "name the port that speaks TLS, or use http:// if this server has no TLS",
            Fix::NotPlain => "use https:// if this port speaks TLS, else correct host and port in the URL",
            Fix::Resolve => "correct the name in the URL, or have it entered in this machine's DNS",
            Fix::Connect => "start the server, or correct host and port in the URL",
            Fix::Proxy => {
                "start or correct the proxy; if the server is reached without it, enter the server's host in NO_PROXY"
            }
            Fix::ProxyLogin => {
                "put the proxy's user and password into the variable: http://user:password@host:port"
            }
            Fix::ProxyRefusal => {
                "see whether the server's name is right and it runs; if so, have whoever runs the proxy allow it, or enter it in NO_PROXY \
                 if it is reached directly"
            }
        }
    }
}

/// Tells what TLS said.
pub(super) fn fault(error: &Error) -> TlsFault {
    let fault = |fix, why: &str| TlsFault { why: why.to_owned(), fix };
    match error {
        Error::InvalidCertificate(error) => certificate_fault(error),
        Error::InvalidMessage(_) => fault(Fix::NotTls, "its answer is not TLS"),
        Error::AlertReceived(alert) => {
            fault(Fix::Reissue, &format!("the server ended the handshake with the alert {alert:?}"))
        }
        Error::PeerIncompatible(why) => fault(
            Fix::Reissue,
            &format!("the server and this program have no TLS version or cipher in common: {why:?}"),
        ),
        other => fault(Fix::Reissue, &other.to_string()),
    }
}

fn certificate_fault(error: &CertificateError) -> TlsFault {
    let fault = |fix, why: String| TlsFault { why, fix };
    match error {
        CertificateError::UnknownIssuer => fault(
            Fix::Trust,
            format!(
                "its certificate is signed by an authority that is not trusted here{}",
                unreadable_roots()
            ),
        ),
        CertificateError::ExpiredContext { time, not_after } => fault(
            Fix::Dates,
            format!("its certificate expired on {}; here it is {}", date(*not_after), date(*time)),
        ),
        CertificateError::Expired => fault(Fix::Dates, "its certificate has expired".to_owned()),
        CertificateError::NotValidYetContext { time, not_before } => fault(
            Fix::Dates,
            format!("its certificate is valid from {}; here it is {}", date(*not_before), date(*time)),
        ),
        CertificateError::NotValidYet => fault(Fix::Dates, "its certificate is not valid yet".to_owned()),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names: Vec<&str> = presented.iter().map(|name| bare(name)).collect();
            let valid = match names.as_slice() {
                [] => "no name at all (it has no subjectAltName)".to_owned(),
                [one] => (*one).to_owned(),
                [first @ .., last] => format!("{} and {last}", first.join(", ")),
            };
            fault(Fix::Name, format!("its certificate is for {valid}, not for {}", expected.to_str()))
        }
        CertificateError::NotValidForName => {
            fault(Fix::Name, "its certificate is for another name".to_owned())
        }
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => fault(
            Fix::Reissue,
            "its certificate is that of an authority (CA:TRUE), which no server may present".to_owned(),
        ),
        other => fault(Fix::Reissue, format!("its certificate is refused: {other}")),
    }
}

/// Names a file of the environment that should hold the trusted authorities and cannot be read.
fn unreadable_roots() -> String {
    let Some(path) = std::env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty()) else {
        return String::new();
    };
    match std::fs::File::open(&path) {
        Ok(_) => String::new(),
        Err(error) => format!(", and SSL_CERT_FILE = {} cannot be read: {error}", path.to_string_lossy()),
    }
}

/// Takes `localhost` out of `DnsName("localhost")`, as the library shows the names of a certificate.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.map_or(name, |inner| inner.trim_matches('"'))
}

fn date(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    seconds.map_or_else(
        || format!("{} s after 1970", time.as_secs()),
        |time| time.strftime("%Y-%m-%d %H:%M UTC").to_string(),
    )
}
