//! The signatures of web hooks, in the forms that code hosts send.
//!
//! | sender | headers | what is sent |
//! |---|---|---|
//! | GitHub, Gitea | `X-Hub-Signature-256` | `sha256=` and the HMAC-SHA256 of the body, hexadecimal |
//! | Gitea, Forgejo, Gogs | `X-Gitea-Signature`, `X-Forgejo-Signature`, `X-Gogs-Signature` | the same digits alone |
//! | GitLab, secret token | `X-Gitlab-Token` | the secret itself |
//! | GitLab, signing token; [Standard Webhooks](https://www.standardwebhooks.com) | `webhook-id`, `webhook-timestamp`, `webhook-signature` | a list of `v1,` and the base64 of the HMAC-SHA256 of `<id>.<timestamp>.<body>` |
//!
//! The key of the last form is what stands in base64 after `whsec_`, where the secret has that
//! prefix; every other form takes the secret as it is written.
//!
//! One right signature is enough: a request that has others beside it proves no less than the same
//! request without them. A header that comes twice, is empty, or is not of its form counts as
//! absent, so what a host sends that was given no secret is refused. Every comparison takes the
//! same time wherever the first difference is, and a request costs the same work whatever it holds.

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Headers with the hexadecimal HMAC of the body, and what stands before the digits.
const OF_BODY: [(&str, &str); 4] = [
    ("X-Hub-Signature-256", "sha256="),
    ("X-Gitea-Signature", ""),
    ("X-Forgejo-Signature", ""),
    ("X-Gogs-Signature", ""),
];
const GITLAB_TOKEN: &str = "X-Gitlab-Token";
const ID: &str = "webhook-id";
const TIMESTAMP: &str = "webhook-timestamp";
const SIGNATURES: &str = "webhook-signature";
/// What a secret of the Standard Webhooks form begins with.
const SECRET_PREFIX: &str = "whsec_";
/// How far the time of a request may be from ours, in seconds, either way.
pub(super) const TOLERANCE_SECONDS: u64 = 300;
/// Signatures of one request: a sender that changes its secret sends two.
const SIGNATURES_MAX: usize = 8;
const SIGNATURE_BYTES: usize = 32;

type Signature = [u8; SIGNATURE_BYTES];
type Sha256Mac = Hmac<Sha256>;

/// What the signatures of a request are worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SignatureVerdict {
    /// One of them is right.
    Right,
    /// One is right for a time that is this many seconds from ours, which is too far.
    Stale {
        /// Positive where the request is newer than our clock.
        seconds: i64,
    },
    /// None is right.
    Wrong,
}

/// The signatures of one request, and what is computed to compare with them.
pub(super) struct SignatureCheck<'a> {
    secret: &'a [u8],
    of_body: Vec<Signature>,
    token: Option<&'a [u8]>,
    standard: Option<Standard>,
    /// Over the body.
    body_mac: Sha256Mac,
    /// Over id, time and body.
    standard_mac: Sha256Mac,
}

/// Signatures of the Standard Webhooks form.
struct Standard {
    timestamp: i64,
    signatures: Vec<Signature>,
}

impl<'a> SignatureCheck<'a> {
    /// Reads the headers of a request, whose body comes piece by piece.
    pub(super) fn new(headers: &'a HeaderMap, secret: &'a [u8]) -> SignatureCheck<'a> {
        let decoded = std::str::from_utf8(secret)
            .ok()
            .and_then(|text| STANDARD.decode(text.strip_prefix(SECRET_PREFIX)?).ok());
        let mut check = SignatureCheck {
            secret,
            of_body: OF_BODY.iter().filter_map(|(name, scheme)| hex(once(headers, name)?, scheme)).collect(),
            token: once(headers, GITLAB_TOKEN).map(str::as_bytes),
            standard: None,
            body_mac: mac(secret),
            standard_mac: mac(decoded.as_deref().unwrap_or(secret)),
        };
        let (id, timestamp) = (once(headers, ID), once(headers, TIMESTAMP));
        check.standard_mac.update(id.unwrap_or_default().as_bytes());
        check.standard_mac.update(b".");
        check.standard_mac.update(timestamp.unwrap_or_default().as_bytes());
        check.standard_mac.update(b".");
        if let (Some(_), Some(timestamp), Some(list)) = (id, timestamp, once(headers, SIGNATURES)) {
            check.standard = Standard::parse(timestamp, list);
        }
        check
    }

    /// Takes the next piece of the body.
    pub(super) fn update(&mut self, piece: &[u8]) {
        self.body_mac.update(piece);
        self.standard_mac.update(piece);
    }

    /// Decides, at `now` in seconds since 1970. `blind` is any key: two texts are the same if their
    /// MACs under it are, and comparing those tells nothing about the texts.
    pub(super) fn finish(self, now: i64, blind: &[u8]) -> SignatureVerdict {
        let SignatureCheck { secret, of_body, token, standard, body_mac, standard_mac } = self;
        let is_right = |mac: &Sha256Mac, signature: &Signature| mac.clone().verify_slice(signature).is_ok();
        // Every one is compared, also after a right one.
        let mut right = of_body.iter().filter(|signature| is_right(&body_mac, signature)).count();
        let (mut ours, mut theirs) = (mac(blind), mac(blind));
        ours.update(secret);
        theirs.update(token.unwrap_or_default());
        right += usize::from(ours.verify(&theirs.finalize().into_bytes()).is_ok());
        let Some(Standard { timestamp, signatures }) = standard else {
            return if right > 0 { SignatureVerdict::Right } else { SignatureVerdict::Wrong };
        };
        let signed = signatures.iter().filter(|signature| is_right(&standard_mac, signature)).count() > 0;
        let off = timestamp.saturating_sub(now);
        match (right > 0, signed, off.unsigned_abs() <= TOLERANCE_SECONDS) {
            (true, ..) | (false, true, true) => SignatureVerdict::Right,
            (false, true, false) => SignatureVerdict::Stale { seconds: off },
            (false, false, _) => SignatureVerdict::Wrong,
        }
    }
}

impl Standard {
    /// A time in digits, and the signatures of the list that are of the version that we know.
    fn parse(timestamp: &str, list: &str) -> Option<Standard> {
        if !timestamp.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let signature = |one: &str| STANDARD.decode(one.strip_prefix("v1,")?).ok()?.try_into().ok();
        let signatures = list.split(' ').filter_map(signature).take(SIGNATURES_MAX).collect();
        Some(Standard { timestamp: timestamp.parse().ok()?, signatures })
    }
}

fn mac(key: &[u8]) -> Sha256Mac {
    Sha256Mac::new_from_slice(key).expect("HMAC takes keys of any length")
}

/// The value of a header that is there once and is not empty.
fn once<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut all = headers.get_all(name).iter();
    let (value, None) = (all.next()?.to_str().ok()?, all.next()) else { return None };
    (!value.is_empty()).then_some(value)
}

/// The scheme and 64 hexadecimal digits.
fn hex(value: &str, scheme: &str) -> Option<Signature> {
    let digits = value.strip_prefix(scheme)?.as_bytes();
    let mut signature = [0; SIGNATURE_BYTES];
    if digits.len() != 2 * SIGNATURE_BYTES {
        return None;
    }
    for (byte, pair) in signature.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()?;
    }
    Some(signature)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderName, HeaderValue};

    const BLIND: &[u8] = b"any key";

    fn verdict(secret: &str, headers: &[(&str, &str)], body: &[u8], now: i64) -> SignatureVerdict {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name = HeaderName::try_from(*name).unwrap();
            map.append(name, HeaderValue::from_str(value).unwrap());
        }
        let mut check = SignatureCheck::new(&map, secret.as_bytes());
        let (first, second) = body.split_at(body.len() / 2);
        check.update(first);
        check.update(second);
        check.finish(now, BLIND)
    }

    /// GitHub's own example ("Validating webhook deliveries"), in the headers of all who send it so.
    #[test]
    fn the_mac_of_the_body_is_taken_in_every_header_that_hosts_use() {
        const SECRET: &str = "It's a Secret to Everybody";
        let digits = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let check = |headers: &[(&str, &str)]| verdict(SECRET, headers, b"Hello, World!", 0);
        let of_hub = format!("sha256={digits}");
        for (name, value) in [
            ("X-Hub-Signature-256", of_hub.as_str()),
            ("X-Gitea-Signature", digits),
            ("X-Forgejo-Signature", digits),
            ("X-Gogs-Signature", digits),
        ] {
            assert_eq!(check(&[(name, value)]), SignatureVerdict::Right, "{name}");
            assert_eq!(
                check(&[(name, &value.to_uppercase().replace("SHA", "sha"))]),
                SignatureVerdict::Right
            );
            assert_eq!(check(&[(name, value), (name, value)]), SignatureVerdict::Wrong, "{name} twice");
            assert_eq!(check(&[(name, "")]), SignatureVerdict::Wrong, "{name} empty");
            assert_eq!(check(&[(name, "sha256=")]), SignatureVerdict::Wrong, "{name} empty");
            assert_eq!(check(&[(name, &value[..value.len() - 1])]), SignatureVerdict::Wrong, "{name} cut");
            assert_eq!(check(&[(name, &value.replace("7571", "7572"))]), SignatureVerdict::Wrong, "{name}");
            assert_eq!(check(&[(name, &value.replace("e1", "+1"))]), SignatureVerdict::Wrong, "{name}");
        }
        // Each only in its own form.
        assert_eq!(check(&[("X-Hub-Signature-256", digits)]), SignatureVerdict::Wrong);
        assert_eq!(check(&[("X-Gitea-Signature", &of_hub)]), SignatureVerdict::Wrong);
        // Gitea with a secret sends both, and without one both empty.
        assert_eq!(
            check(&[("X-Gitea-Signature", ""), ("X-Hub-Signature-256", "sha256=")]),
            SignatureVerdict::Wrong
        );
        assert_eq!(
            check(&[("X-Gitea-Signature", digits), ("X-Hub-Signature-256", &of_hub)]),
            SignatureVerdict::Right
        );
        assert_eq!(check(&[]), SignatureVerdict::Wrong);
    }

    #[test]
    fn gitlab_sends_the_secret_itself() {
        let check = |value: &str| verdict("a secret of gitlab", &[("X-Gitlab-Token", value)], b"{}", 0);
        assert_eq!(check("a secret of gitlab"), SignatureVerdict::Right);
        for wrong in ["", "a secret of gitlaB", "a secret of gitlab2", "a secret of", " a secret of gitlab"] {
            assert_eq!(check(wrong), SignatureVerdict::Wrong, "{wrong:?}");
        }
    }

    /// The example of the Standard Webhooks libraries: secret, id, time, payload and signature.
    #[test]
    fn standard_webhooks_are_signed_with_id_and_time() {
        const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        const BODY: &[u8] = br#"{"test": 2432232314}"#;
        const AT: i64 = 1_614_265_330;
        const RIGHT: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        let check = |id: &str, at: &str, list: &str, now: i64| {
            let headers = [("webhook-id", id), ("webhook-timestamp", at), ("webhook-signature", list)];
            verdict(SECRET, &headers, BODY, now)
        };
        let (id, at) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330");
        for now in [AT, AT + 300, AT - 300] {
            assert_eq!(check(id, at, RIGHT, now), SignatureVerdict::Right);
        }
        assert_eq!(check(id, at, RIGHT, AT + 301), SignatureVerdict::Stale { seconds: -301 });
        assert_eq!(check(id, at, RIGHT, AT - 301), SignatureVerdict::Stale { seconds: 301 });
        assert_eq!(
            check(id, at, &format!("v1a,AAAA v1,AAAA {RIGHT}"), AT),
            SignatureVerdict::Right,
            "a list"
        );
        let far_down =
            format!("{}{RIGHT}", format!("v1,{} ", STANDARD.encode([7; 32])).repeat(SIGNATURES_MAX));
        for (id, at, list) in [
            ("msg_other", at, RIGHT),
            (id, "1614265331", RIGHT),
            (id, "+1614265330", RIGHT),
            (id, "", RIGHT),
            ("", at, RIGHT),
            (id, at, ""),
            (id, at, "v1,"),
            (id, at, &RIGHT[3..]),
            (id, at, &RIGHT.replace("v1", "v2")),
            (id, at, &RIGHT.replace("g0", "g1")),
            (id, at, &far_down),
        ] {
            assert_eq!(check(id, at, list, AT), SignatureVerdict::Wrong, "{id} {at} {list}");
        }
        // A secret without the prefix is the key as it is written.
        let mut by_text = mac(b"sixteen bytes or more");
        by_text.update(b"1.2.body");
        let signature = format!("v1,{}", STANDARD.encode(by_text.finalize().into_bytes()));
        let headers = [("webhook-id", "1"), ("webhook-timestamp", "2"), ("webhook-signature", &signature)];
        assert_eq!(verdict("sixteen bytes or more", &headers, b"body", 2), SignatureVerdict::Right);
    }
}
