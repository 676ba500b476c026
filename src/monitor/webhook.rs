//! Events to a web hook: `POST`, signed as GitHub signs its own, one after another until each is taken.
//!
//! ```text
//! POST /sumdb
//! Content-Type: application/json
//! X-Hub-Signature-256: sha256=<HMAC-SHA256 of the body under the secret, hexadecimal>
//! X-Tallystick-Event: 7
//! ```
//! Any 2xx takes it. Anything else, or nothing, leaves it for the next poll. An event may come twice, with the same number.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::event::Event;
use crate::config::Secret;
use crate::source::ServerUrl;
use crate::upstream::{FetchError, HttpClient};

/// A receiver that takes longer is asked again at the next poll.
const DEADLINE: Duration = Duration::from_secs(15);

/// Posts events.
pub struct Webhook {
    url: ServerUrl,
    secret: Secret,
    client: HttpClient,
}

/// Why an event was not taken.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// No answer.
    #[error("the web hook does not answer: {0}")]
    Unreachable(FetchError),
    /// Another answer than 2xx.
    #[error("the web hook answered {0}")]
    Status(u16),
}

impl Webhook {
    /// Makes the hook, whose events `secret` signs. Nothing is posted yet.
    pub fn new(url: ServerUrl, secret: Secret, client: HttpClient) -> Webhook {
        Webhook { url, secret, client }
    }

    /// Posts one event.
    pub async fn tell(&self, event: &Event) -> Result<(), WebhookError> {
        let body = serde_json::to_vec(event).expect("an event has only string keys");
        let mut mac =
            Hmac::<Sha256>::new_from_slice(self.secret.expose()).expect("HMAC takes keys of any length");
        mac.update(&body);
        let signature: String =
            mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let headers = [
            ("Content-Type", "application/json".to_owned()),
            ("X-Hub-Signature-256", format!("sha256={signature}")),
            ("X-Tallystick-Event", event.id.to_string()),
        ];
        let deadline = self.client.clock().instant() + DEADLINE;
        let posted = self.client.notify(&self.url, &headers, body.into(), deadline).await;
        match posted.map_err(WebhookError::Unreachable)? {
            200..=299 => Ok(()),
            status => Err(WebhookError::Status(status)),
        }
    }
}
