//! From when until when a certificate is valid: the one field of X.509 that an operator must watch.
//!
//! rustls does not show it, so it is read here. A certificate is DER: each element is a tag, a
//! length and its content. The walk goes down to the field and looks at nothing else (RFC 5280,
//! 4.1):
//!
//! ```text
//! Certificate ::= SEQUENCE {
//!   TBSCertificate ::= SEQUENCE {
//!     [0] version, serialNumber, signature, issuer,       skipped
//!     validity ::= SEQUENCE { notBefore, notAfter }       UTCTime YYMMDDHHMMSSZ
//!     … } … }                                             or GeneralizedTime YYYYMMDDHHMMSSZ
//! ```

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Tags of DER elements.
const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
/// The most bytes of a length: certificates are far below 4 GiB.
const LENGTH_BYTES_MAX: usize = 4;

/// The time in which a certificate is valid, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Clients refuse it before.
    pub not_before: Timestamp,
    /// Clients refuse it afterwards. A later year than 9999 counts as the end of 9999.
    pub not_after: Timestamp,
}

impl Validity {
    /// Reads the field of a certificate in DER; none where this is no certificate.
    pub fn of(certificate: &[u8]) -> Option<Validity> {
        let (content, _) = expect(SEQUENCE, certificate)?;
        let (content, _) = expect(SEQUENCE, content)?;
        // Version 1 has no element for its version.
        let rest = expect(VERSION, content).map_or(content, |(_, rest)| rest);
        let (_, rest) = expect(INTEGER, rest)?;
        let (_, rest) = expect(SEQUENCE, rest)?;
        let (_, rest) = expect(SEQUENCE, rest)?;
        let (validity, _) = expect(SEQUENCE, rest)?;
        let (not_before, rest) = time(validity)?;
        let (not_after, rest) = time(rest)?;
        rest.is_empty().then_some(Validity { not_before, not_after })
    }

    /// The time in which both certificates are valid: a chain is as good as its weakest part.
    pub(super) fn and(self, other: Validity) -> Validity {
        Validity {
            not_before: self.not_before.max(other.not_before),
            not_after: self.not_after.min(other.not_after),
        }
    }
}

/// Takes an element with this tag. Returns its content and what follows it.
fn expect(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = element(der)?;
    (found == tag).then_some((content, rest))
}

/// Takes an element. Returns its tag, its content and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let [tag, first, rest @ ..] = der else { return None };
    let (length, rest) = match usize::from(*first) {
        short @ 0..0x80 => (short, rest),
        long => {
            let count = long & 0x7f;
            let (digits, rest) = rest.split_at_checked(count)?;
            if !(1..=LENGTH_BYTES_MAX).contains(&count) {
                return None;
            }
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

/// Takes a time. Returns it and what follows it.
fn time(der: &[u8]) -> Option<(Timestamp, &[u8])> {
    let (tag, text, rest) = element(der)?;
    let digits = text.strip_suffix(b"Z")?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = |digits: &[u8]| digits.iter().fold(0, |number, digit| number * 10 + i16::from(digit - b'0'));
    let (year, digits) = match (tag, digits.len()) {
        // RFC 5280, 4.1.2.5.1: two digits from 50 on are in the last century.
        (UTC_TIME, 12) => match number(&digits[..2]) {
            year @ 0..50 => (2000 + year, &digits[2..]),
            year => (1900 + year, &digits[2..]),
        },
        (GENERALIZED_TIME, 14) => (number(&digits[..4]), &digits[4..]),
        _ => return None,
    };
    let part = |at: usize| number(&digits[at..at + 2]) as i8;
    let civil = DateTime::new(year, part(0), part(2), part(4), part(6), part(8), 0).ok()?;
    // RFC 5280, 4.1.2.5: 99991231235959Z says that there is no end.
    let timestamp = TimeZone::UTC.to_timestamp(civil).unwrap_or(Timestamp::MAX);
    Some((timestamp, rest))
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    /// Certificates made by OpenSSL 3.0, in base64 of their DER, with the times that
    /// `openssl x509 -dates` prints: version 3 with two UTCTimes, version 1 with a GeneralizedTime,
    /// and one of the last century.
    const VECTORS: [(&str, &str, &str); 3] = [
        (
            "MIIBPDCB76ADAgECAhR+vo92DIo4pKgXu8zUti0Kr8YcPDAFBgMrZXAwFDESMBAGA1UEAwwJbG9jYWxob3N0MB4X\
         DTI2MTIwMTE1MjQyMFoXDTI2MTIzMTE1MjQyMFowFDESMBAGA1UEAwwJbG9jYWxob3N0MCowBQYDK2VwAyEATv22\
         j+6dtLRoBlfiwfl0hFkqS5ZChLrBC3uLR9Qr2DujUzBRMB0GA1UdDgQWBBTjQJw+X+rwcg/cT7SQFDg1OlaaZjAf\
         BgNVHSMEGDAWgBTjQJw+X+rwcg/cT7SQFDg1OlaaZjAPBgNVHRMBAf8EBTADAQH/MAUGAytlcANBAK9cwPCcEi+i\
         FPU45hQC3feKR8qW/90J0CUuxjUzOWwL3CPBM/EaqhuOW/rcsBh5viVOR1E6J1ShbWq8z9syFAg=",
            "2026-12-01T15:24:20Z",
            "2026-12-31T15:24:20Z",
        ),
        (
            "MIHkMIGXAhQ55vB7o+mQHB4006djjVz+cpD+KzAFBgMrZXAwFDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTQ5MDEw\
         MTAwMDAwMFoYDzIwNTAwMTAxMDAwMDAwWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwKjAFBgMrZXADIQBO/baP7p20\
         tGgGV+LB+XSEWSpLlkKEusELe4tH1CvYOzAFBgMrZXADQQAomqbW4mMGQk84wfhEfjrhu6KM1xoQlkDLZQMEUeKz\
         SC45q1/IWFcPlQFulNMrBWTfLfR3zBIugbdam/lZY2sJ",
            "2049-01-01T00:00:00Z",
            "2050-01-01T00:00:00Z",
        ),
        (
            "MIHiMIGVAhQnxdvzfZLoAraKai2Mr1SQJcd/tDAFBgMrZXAwFDESMBAGA1UEAwwJbG9jYWxob3N0MB4XDTk5MTIz\
         MTIzNTk1OVoXDTI2MDIyODEyMDAwMFowFDESMBAGA1UEAwwJbG9jYWxob3N0MCowBQYDK2VwAyEATv22j+6dtLRo\
         Blfiwfl0hFkqS5ZChLrBC3uLR9Qr2DswBQYDK2VwA0EAknSmQVeq7/gJGT9GAf2lDxDStIQDVawW7Vlwc3hOW3od\
         BXI6ZUoQKKqMNkAsCso2RUecUfNceTdHLPdJD5A1AA==",
            "1999-12-31T23:59:59Z",
            "2026-02-28T12:00:00Z",
        ),
    ];

    #[test]
    fn certificates_of_openssl_have_the_dates_that_it_prints() {
        for (text, not_before, not_after) in VECTORS {
            let der = STANDARD.decode(text).expect("base64");
            let found = Validity::of(&der).expect("a certificate");
            let found = (found.not_before.to_string(), found.not_after.to_string());
            assert_eq!(found, (not_before.to_owned(), not_after.to_owned()));
        }
    }

    fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
        let mut der = vec![tag];
        match content.len() {
            short @ 0..0x80 => der.push(short as u8),
            long => der.extend([0x82, (long >> 8) as u8, long as u8]),
        }
        der.extend(content);
        der
    }

    fn certificate(is_v3: bool, not_before: &[u8], not_after: &[u8]) -> Vec<u8> {
        let version = if is_v3 { tlv(VERSION, &tlv(INTEGER, &[2])) } else { Vec::new() };
        let validity = tlv(SEQUENCE, &[not_before, not_after].concat());
        let (serial, names) = (tlv(INTEGER, &[7; 20]), tlv(SEQUENCE, &[0; 200]));
        let tbs = [version, serial, tlv(SEQUENCE, &[]), names.clone(), validity, names].concat();
        tlv(SEQUENCE, &[tlv(SEQUENCE, &tbs), tlv(SEQUENCE, &[])].concat())
    }

    #[test]
    fn the_times_are_read_in_both_forms_and_of_both_versions() {
        for is_v3 in [true, false] {
            for (before, after, want) in [
                (
                    tlv(UTC_TIME, b"491231235959Z"),
                    tlv(UTC_TIME, b"500101000000Z"),
                    ("2049-12-31T23:59:59Z", "1950-01-01T00:00:00Z"),
                ),
                (
                    tlv(UTC_TIME, b"260101000000Z"),
                    tlv(GENERALIZED_TIME, b"20510203040506Z"),
                    ("2026-01-01T00:00:00Z", "2051-02-03T04:05:06Z"),
                ),
            ] {
                let found = Validity::of(&certificate(is_v3, &before, &after)).expect("a certificate");
                assert_eq!(
                    (found.not_before.to_string(), found.not_after.to_string()),
                    (want.0.to_owned(), want.1.to_owned())
                );
            }
        }
        let endless =
            certificate(true, &tlv(UTC_TIME, b"260101000000Z"), &tlv(GENERALIZED_TIME, b"99991231235959Z"));
        assert_eq!(Validity::of(&endless).expect("a certificate").not_after, Timestamp::MAX);
    }

    #[test]
    fn what_is_no_certificate_has_no_validity() {
        let good = tlv(UTC_TIME, b"260101000000Z");
        for bad in [
            tlv(UTC_TIME, b"260101000000"),
            tlv(UTC_TIME, b"261301000000Z"),
            tlv(UTC_TIME, b"2601010000Z"),
            tlv(UTC_TIME, b"26010100000xZ"),
            tlv(GENERALIZED_TIME, b"260101000000Z"),
            tlv(INTEGER, b"260101000000Z"),
            Vec::new(),
        ] {
            assert_eq!(Validity::of(&certificate(true, &good, &bad)), None, "{bad:?}");
        }
        let whole = certificate(true, &good, &good);
        for length in 0..whole.len() {
            assert_eq!(Validity::of(&whole[..length]), None, "{length} bytes");
        }
        for start in
            [&[0x30, 0x80][..], &[0x30, 0x85, 1, 0, 0, 0, 0], &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], &[0x30]]
        {
            assert_eq!(Validity::of(start), None, "{start:?}");
        }
    }
}
