//! What several subjects of the integration tests share.

pub(crate) mod logs;
pub(crate) mod serve;
pub(crate) mod tree;
pub(crate) mod web;
