//! What only the store in SQLite promises: triggers, the index on disk, other processes.
