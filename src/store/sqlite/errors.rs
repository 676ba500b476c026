//! What SQLite said, as what a caller can act on.

use jiff::Timestamp;
use rusqlite::ErrorCode;

use crate::store::StoreError;

/// Turns what SQLite said into what a caller can act on.
pub(super) fn failed(action: &'static str) -> impl Fn(rusqlite::Error) -> StoreError {
    move |source| match source.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            StoreError::Damaged { place: "a page of the database".to_owned(), why: source.to_string() }
        }
        // Each write is compared with what is there before it is made. A trigger that sees
        // something else reads pages that contradict each other.
        Some(ErrorCode::ConstraintViolation) => {
            StoreError::Damaged { place: format!("a table ({action})"), why: source.to_string() }
        }
        // A flipped bit in a row's header makes a number of a text.
        None if is_conversion(&source) => {
            StoreError::Damaged { place: format!("a row ({action})"), why: source.to_string() }
        }
        // The caller says which database it is.
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            StoreError::Busy { path: String::new(), holder: None }
        }
        _ => StoreError::Database { action, source: Box::new(source) },
    }
}

/// Whether a column did not hold what its table says.
fn is_conversion(error: &rusqlite::Error) -> bool {
    use rusqlite::Error;
    matches!(
        error,
        Error::InvalidColumnType(..)
            | Error::FromSqlConversionFailure(..)
            | Error::IntegralValueOutOfRange(..)
            | Error::Utf8Error(..)
    )
}

pub(super) fn damaged(place: String) -> impl FnOnce(String) -> StoreError {
    move |why| StoreError::Damaged { place, why }
}

/// A time as a column holds it.
pub(super) fn to_micros(time: Timestamp) -> i64 {
    time.as_microsecond()
}

/// A time from a column, or why it is none.
pub(super) fn from_micros(micros: i64) -> Result<Timestamp, String> {
    Timestamp::from_microsecond(micros).map_err(|error| error.to_string())
}
