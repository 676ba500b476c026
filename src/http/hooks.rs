//! `POST /hooks/mirror/<name>`: whoever publishes a log, or a scheduler, says that there is something new.
//!
//! The request is signed as GitHub signs its web hooks: with HMAC-SHA256 of the body under the secret of that log,
//!
//! ```text
//! POST /hooks/mirror/sum.corp.example
//! X-Hub-Signature-256: sha256=<64 hexadecimal digits>
//! ```
//!
//! | answer | when |
//! |---|---|
//! | 202 | the signature is right: the newest head is asked for, within a second |
//! | 401 | anything is wrong with signature or name: the same words and the same work for a name that does not exist |
//! | 408, 413, 429 | the body came too slowly, is too large, or this client asks too often |
//!
//! The body is not read for anything but its signature, so nothing of it is kept in memory. A request that is sent again is
//! as good as the first: it can do nothing but have a head asked for, and several at once are one.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, Method, Request};
use hmac::{Hmac, KeyInit, Mac};
use hyper::body::Incoming;
use sha2::Sha256;

use super::Client;
use super::answer::{self, Answer};
use super::body::{self, BodyError};
use crate::clock::Clock;
use crate::config::Secret;
use crate::mirror::Mirror;
use crate::share::Rates;

/// The path of a hook, before the name of the log.
pub const PATH: &str = "/hooks/mirror/";
/// GitHub sends what was pushed along, some tens of kilobytes.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// How long a body may take to come.
pub const BODY_PATIENCE: Duration = Duration::from_secs(10);
/// Requests of one client in a minute: a log that grows each second is better polled.
pub const CLIENT_REQUESTS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(60).expect("it is not zero");
/// Requests of all clients in a minute.
const REQUESTS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(6000).expect("it is not zero");
/// The header that holds the signature, and what stands before its digits.
const SIGNATURE: &str = "X-Hub-Signature-256";
const SCHEME: &str = "sha256=";
/// Bytes of a signature.
const SIGNATURE_BYTES: usize = 32;

/// The hooks of a server.
pub struct Hooks {
    by_name: BTreeMap<String, (Secret, Arc<Mirror>)>,
    /// Signs for names that do not exist: they cost the same work.
    nobody: [u8; SIGNATURE_BYTES],
    rates: Rates,
}

impl Hooks {
    /// The hooks of these mirrors, each with its secret.
    pub fn new(hooks: impl IntoIterator<Item = (Secret, Arc<Mirror>)>, clock: &Clock) -> Hooks {
        let named =
            |(secret, mirror): (Secret, Arc<Mirror>)| (mirror.log.name().to_owned(), (secret, mirror));
        let mut nobody = [0; SIGNATURE_BYTES];
        // Without randomness it is a key that signs nothing all the same: names that do not exist are refused in any case.
        let _ = getrandom::fill(&mut nobody);
        let rates = Rates::new(CLIENT_REQUESTS_PER_MINUTE, REQUESTS_PER_MINUTE, clock);
        Hooks { by_name: hooks.into_iter().map(named).collect(), nobody, rates }
    }

    /// Whether there is any.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Answers a request for the hook of this name.
    pub async fn answer(&self, name: &str, client: Client, request: Request<Incoming>) -> Answer {
        if request.method() != Method::POST {
            return answer::post_only();
        }
        // Before anything is read, and whatever the name is.
        if let Err(exhausted) = self.rates.admit(client.claimant()) {
            return answer::too_often(exhausted.retry_after);
        }
        let claimed = signature_of(request.headers());
        let hook = self.by_name.get(name);
        let key = hook.map_or(&self.nobody[..], |(secret, _)| secret.expose());
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
        let sign = |chunk: &[u8]| mac.update(chunk);
        match body::feed(request.into_body(), BODY_BYTES_MAX, BODY_PATIENCE, sign).await {
            Ok(()) => {}
            Err(BodyError::Broken) => return answer::unsigned(),
            Err(error) => return answer::body_not_read(error),
        }
        // In constant time, also where there is nothing to compare with.
        let is_right = mac.verify_slice(&claimed.unwrap_or_default()).is_ok();
        match hook {
            Some((_, mirror)) if is_right && claimed.is_some() => {
                mirror.want();
                answer::accepted()
            }
            _ => answer::unsigned(),
        }
    }
}

/// `sha256=` and 64 hexadecimal digits, once.
fn signature_of(headers: &HeaderMap) -> Option<[u8; SIGNATURE_BYTES]> {
    let mut all = headers.get_all(SIGNATURE).iter();
    let (value, None) = (all.next()?.to_str().ok()?, all.next()) else { return None };
    let digits = value.strip_prefix(SCHEME)?.as_bytes();
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
    use axum::http::HeaderValue;

    #[test]
    fn a_signature_is_exactly_64_digits() {
        let one = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(SIGNATURE, HeaderValue::from_str(value).unwrap());
            signature_of(&headers)
        };
        let digits = "00ff".repeat(16);
        assert_eq!(one(&format!("sha256={digits}")).unwrap()[..4], [0, 255, 0, 255]);
        assert_eq!(one(&format!("sha256={}", digits.to_uppercase())), one(&format!("sha256={digits}")));
        for bad in [
            "",
            "sha256=",
            &digits,
            &format!("sha1={digits}"),
            &format!("sha256={digits}0"),
            &format!("sha256={}", &digits[1..]),
            &format!("sha256= {}", &digits[1..]),
            &format!("sha256={}", digits.replace('f', "g")),
            &format!("sha256={}", digits.replace("00", "+1")),
        ] {
            assert_eq!(one(bad), None, "{bad}");
        }
        let mut twice = HeaderMap::new();
        for _ in 0..2 {
            twice.append(SIGNATURE, HeaderValue::from_str(&format!("sha256={digits}")).unwrap());
        }
        assert_eq!((signature_of(&twice), signature_of(&HeaderMap::new())), (None, None));
    }
}
