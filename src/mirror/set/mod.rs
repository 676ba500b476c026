//! The set of mirrors: which remote logs are mirrored here, how each is configured, and who brings
//! them up to date.
//!
//! | file | what | state |
//! |---|---|---|
//! | `mirrors` | all of them, by name | [`Mirrors`] |
//! | `watch` | keeps one up to date for as long as a server runs | |
//! | `mirror` | one of them: its log, its mode, its replica | [`Mirror`] |
//! | `unusable` | one whose database cannot be used: the others go on | [`Unusable`] |

mod mirror;
mod mirrors;
mod unusable;
mod watch;

pub(crate) use mirror::Mirror;
pub use mirrors::Mirrors;
pub(crate) use unusable::Unusable;
pub(crate) use watch::watch;
