-- The process that used this memory last: the log that it wrote, and the epoch that it wrote in. A memory that is an old
-- copy, or another log's, is told by it.
CREATE TABLE used (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    log   TEXT NOT NULL,                                      -- the log's verifier key
    epoch INTEGER NOT NULL CHECK (epoch >= 0)
) STRICT;
