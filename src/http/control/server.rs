//! The requests about the server itself.

use axum::extract::{Request, State};
use axum::response::Response;

use super::reply::{body_of, result};
use crate::http::answer::control::malformed;
use crate::operate::Operations;

/// Replaces the configuration in force.
pub(super) async fn reload(State(operations): State<Operations>, request: Request) -> Response {
    match body_of(request).await {
        Ok(_) => result(operations.reload().await),
        Err(why) => malformed(why),
    }
}
