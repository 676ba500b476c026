//! What several subjects of the integration tests share.

pub(crate) mod logs;
pub(crate) mod tree;
