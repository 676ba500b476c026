//! `tallystick mirror status`.

use indicatif::HumanBytes;

use crate::cli::session::Session;
use crate::cli::{Exit, output};
use crate::config::{Config, Span};
use crate::operate::{FullStatus, MirrorStatus, RunStatus};

/// Asks the server, or reads what is kept, which needs no lock.
pub(super) async fn show(config: &Config, json: bool) -> anyhow::Result<Exit> {
    let all = Session::look_at_mirrors(config).await?.mirror_statuses().await?;
    let needs_a_person = all.iter().any(|status| status.stopped.is_some() || status.unusable.is_some());
    let exit = if needs_a_person { Exit::Damage } else { Exit::Done };
    if json {
        output::print_json(&all)?;
        return Ok(exit);
    }
    let texts: Vec<String> = all.iter().map(text_of).collect();
    output::print(&texts.join("\n"))?;
    if all.is_empty() {
        output::note("nothing is kept of any remote log yet: `tallystick mirror sync` begins");
    }
    Ok(exit)
}

/// The text for a person.
fn text_of(status: &MirrorStatus) -> String {
    let mut text = format!("{}\n", status.log);
    let mut row = |name: &str, value: &str| text += &format!("  {name:<12}{value}\n");
    if let Some(unusable) = &status.unusable {
        row("mode", &status.mode);
        row("UNUSABLE", &unusable.why);
        row("fix", &unusable.fix);
        return text;
    }
    let when = match &status.schedule {
        Some(schedule) => format!("at {schedule} (UTC)"),
        None => format!("every {}", Span(std::time::Duration::from_secs(status.poll_seconds))),
    };
    row("mode", &format!("{}, polled {when}", status.mode));
    match (status.size, status.remote_size) {
        (Some(size), Some(remote)) if remote > size => {
            row("size", &format!("{} of {remote}", output::count(size, "record")))
        }
        (Some(size), _) => row("size", &output::count(size, "record")),
        (None, _) => row("size", "no head known yet"),
    }
    if let Some(full) = &status.full {
        row("replicated", &replicated(full));
        if let Some(run) = &full.run {
            row("running", &running(run));
        }
    }
    let kept = [(status.records, "record"), (status.tiles, "tile"), (status.heads, "head")];
    row("kept", &kept.map(|(number, one)| output::count(number, one)).join(", "));
    let ago = |seconds| format!(", {} ago", Span(std::time::Duration::from_secs(seconds)));
    let lag = status.lag_seconds.map_or(String::new(), ago);
    row("reached", &status.last_success.map_or("never".to_owned(), |at| output::time(at) + &lag));
    if let Some(error) = &status.last_error {
        row("failed", &format!("{}: {}", output::time(error.at), error.why));
    }
    for url in &status.urls {
        let health = match (url.failures, url.lies) {
            (0, 0) => String::new(),
            (failures, lies) => format!(
                "  ({} in a row, {}: {})",
                output::count(failures, "failure"),
                output::count(lies, "refused answer"),
                url.why.as_deref().unwrap_or_default()
            ),
        };
        row("url", &format!("{}{health}", url.url));
    }
    if let Some(stopped) = &status.stopped {
        row("STOPPED", &format!("incident {}, {}", stopped.incident, output::time(stopped.seen_at)));
        row("", &stopped.what);
        row("", &format!("evidence: {}", stopped.evidence));
        row(
            "",
            &format!("to go on: tallystick mirror resume {} --incident {}", status.log, stopped.incident),
        );
    }
    text
}

/// How much of the log is here.
fn replicated(full: &FullStatus) -> String {
    let each =
        full.bytes.checked_div(full.records).map_or(String::new(), |each| format!(", {each} a record"));
    let under = match full.size {
        None => ", no head complete yet".to_owned(),
        Some(size) if size == full.records => String::new(),
        Some(size) => format!(", {size} of them under the head that is served"),
    };
    let lag = if full.lag_records == 0 { String::new() } else { format!(", {} to come", full.lag_records) };
    let records = output::count(full.records, "record");
    format!("{records}{under}{lag}; {} on disk{each}", HumanBytes(full.bytes))
}

/// How far a run is.
fn running(run: &RunStatus) -> String {
    let rate = run.records_per_second.map_or(String::new(), |rate| format!(", {rate} a second"));
    let eta = run
        .eta_seconds
        .map_or(String::new(), |eta| format!(", {} left", Span(std::time::Duration::from_secs(eta))));
    format!("{} of {} records{rate}{eta}", run.size, run.target)
}
