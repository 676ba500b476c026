-- What the witnesses of the own log said. All of it can be asked for again.

-- Cosignatures, the newest of each witness and size. Bounded by the program: the newest sizes are kept.
CREATE TABLE cosignature (
    witness     TEXT NOT NULL,                                -- its verifier key
    size        INTEGER NOT NULL CHECK (size >= 0),
    root        BLOB NOT NULL CHECK (length(root) = 32),
    line        TEXT NOT NULL,                                -- the signature line, without its newline
    received_at INTEGER NOT NULL,                             -- microseconds since 1970, UTC, as every time in here
    PRIMARY KEY (witness, size)
) STRICT, WITHOUT ROWID;

-- How the last attempts ended.
CREATE TABLE attempt (
    witness      TEXT PRIMARY KEY,
    succeeded_at INTEGER,
    latency      INTEGER,                                     -- of that success, microseconds
    failed_at    INTEGER,
    failure      TEXT,
    failures     INTEGER NOT NULL                             -- since the last success
) STRICT;

-- The head that was the newest when cosignatures were first demanded: it and those before it were published without.
CREATE TABLE demanded (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    after INTEGER NOT NULL CHECK (after >= 0)
) STRICT;
