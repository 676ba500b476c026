//! HTTP: how programs reach the log.
mod activity;
pub mod answer;
pub mod listen;
pub mod metrics;
pub mod tls;
