//! Many lines at once.
//!
//! An import reads from a channel and tells what becomes of each piece through another, in any
//! order. Its last event is one of [`ImportEvent::Done`], [`ImportEvent::Malformed`] and
//! [`ImportEvent::Stopped`]; without one it was cut. It ends when nobody listens any more, and what
//! it has appended by then stays.

mod event;
mod go_sum;
mod parser;
mod records;

use crate::visible;
pub use event::MalformedLine;
pub(crate) use event::{
    ClaimConflict, ClaimedModule, GoSumClaim, ImportEvent, ImportedModule, ModuleFate, RecordConflict,
    RecordsDone,
};
pub use parser::{RecordParser, TrustedRecord};

/// The longest name of an importer: it is kept with every record.
const MAX_IMPORTER_BYTES: usize = 200;

/// Checks that a name can stand as evidence forever: 1 to 200 bytes of plain text on one line.
pub(crate) fn check_importer(importer: &str) -> Result<(), String> {
    if importer.trim().is_empty() {
        return Err("the importer has no name".to_owned());
    }
    if importer.len() > MAX_IMPORTER_BYTES {
        return Err(format!("the importer's name has more than {MAX_IMPORTER_BYTES} bytes"));
    }
    if !importer.chars().all(visible::is_plain) {
        let shown = visible::escape_line(importer);
        return Err(format!("the importer's name has control or invisible characters: {shown}"));
    }
    Ok(())
}
