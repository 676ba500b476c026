//! The mirrors' figures through the control socket, for a command that leaves them in a file.

use axum::extract::{Request, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::{Control, body_of, malformed, result};
use crate::clock::Clock;
use crate::http::metrics::MetricsSource as _;
use crate::http::remote::MirrorFigures;
use crate::http::textfile;
use crate::mirror::Mirrors;

/// The figures of all mirrors, in the text format of Prometheus.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FiguresAnswer {
    /// The text.
    pub text: String,
}

/// The figures now.
pub fn figures(mirrors: &Mirrors, clock: Clock) -> FiguresAnswer {
    let figures = MirrorFigures { mirrors: mirrors.clone(), clock };
    FiguresAnswer { text: textfile::text_of(&figures.samples()) }
}

pub(super) async fn serve_figures(State(control): State<Control>, request: Request) -> Response {
    match body_of(request).await {
        Ok(_) => result(Ok(figures(control.mirrors(), Clock::system()))),
        Err(why) => malformed(why),
    }
}
