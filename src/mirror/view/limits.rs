//! How much one remote log may take.

use std::time::Duration;

/// How much one remote log may take.
#[derive(Clone, Copy, Debug)]
pub struct RemoteLimits {
    /// Look-ups in flight at once, those included for which nobody waits any more.
    pub lookups: usize,
    /// Requests in flight at once: so many look-ups, among which clients take turns, and as many
    /// tiles. A head has its own way, so that nothing keeps the newest one from being known.
    pub requests: usize,
    /// Verified tiles that are held in memory, in bytes.
    pub memory_bytes: u64,
    /// How long the work for a question goes on, whether or not somebody still waits for it.
    pub patience: Duration,
}

impl Default for RemoteLimits {
    fn default() -> RemoteLimits {
        RemoteLimits {
            // Each holds a few kilobytes, and its tiles until they are verified.
            lookups: 1024,
            // A look-up needs some ten tiles at once; the log's operators should not notice us.
            requests: 32,
            // 2,000 full tiles: those that the look-ups of a large build have in common, many times
            // over.
            memory_bytes: 16 << 20,
            // A version that the log has not seen is fetched from version control while we wait.
            patience: Duration::from_secs(120),
        }
    }
}
