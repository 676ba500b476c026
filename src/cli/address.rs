//! Where clients reach the log of a data directory: `url` of the configuration, else where its server says that it
//! listens. A flag, an environment variable or port 0 of that server are known to nobody else.

use anyhow::anyhow;

use crate::config::Config;
use crate::http::control::ControlClient;

/// An address, and what is doubtful about it.
pub(super) struct ClientAddress {
    pub(super) url: String,
    /// Whether a server of the data directory is running.
    pub(super) is_served: bool,
    /// A sentence for whoever relies on the address.
    pub(super) doubt: Option<String>,
}

/// Asks the running server, if there is one.
pub(super) async fn of_log(config: &Config) -> ClientAddress {
    let data = std::path::absolute(&*config.data).unwrap_or_else(|_| config.data.value.clone());
    let data = data.display();
    let configured = |is_served, why: String| {
        let url = config.client_url();
        let doubt = Some(format!("{why}: the address {url} is that of the configuration"));
        ClientAddress { url, is_served, doubt }
    };
    let door = match ControlClient::connect(&config.data).await {
        Ok(None) => return configured(false, format!("no server of {data} is running")),
        Ok(Some(mut running)) => running.door().await,
        Err(error) => Err(error),
    };
    let error = match door {
        Ok(Ok(door)) => {
            let url = config.client_url_at(&door.address, door.has_tls);
            return ClientAddress { url, is_served: true, doubt: None };
        }
        Ok(Err(refusal)) => anyhow!(refusal.why),
        Err(error) => error.into(),
    };
    configured(true, format!("the running server of {data} does not tell where it listens ({error:#})"))
}
