-- A stop for misbehaviour can be ended by a person who has looked at it, and its evidence stays. So there may be several.

CREATE TABLE incident (
    id      INTEGER PRIMARY KEY CHECK (id > 0),
    text    TEXT NOT NULL,                                    -- both notes and the proof
    seen_at INTEGER NOT NULL
) STRICT;

INSERT INTO incident (id, text, seen_at) SELECT id, text, seen_at FROM misbehaviour;
DROP TABLE misbehaviour;

-- With an incident that is not in here the log is not believed.
CREATE TABLE resumption (
    incident   INTEGER PRIMARY KEY REFERENCES incident (id),
    resumed_at INTEGER NOT NULL
) STRICT;

-- How the last attempts to reach the newest head ended. One row, and the only one that changes: it proves nothing.
CREATE TABLE attempt (
    id           INTEGER PRIMARY KEY CHECK (id = 1),
    succeeded_at INTEGER,
    failed_at    INTEGER,
    failure      TEXT,
    shown_size   INTEGER NOT NULL                             -- of the largest tree that the log's URLs have shown as the newest
) STRICT;

CREATE TRIGGER incident_update BEFORE UPDATE ON incident BEGIN SELECT RAISE(ABORT, 'incident is insert-only'); END;
CREATE TRIGGER incident_delete BEFORE DELETE ON incident BEGIN SELECT RAISE(ABORT, 'incident is insert-only'); END;
CREATE TRIGGER resumption_update BEFORE UPDATE ON resumption BEGIN SELECT RAISE(ABORT, 'resumption is insert-only'); END;
CREATE TRIGGER resumption_delete BEFORE DELETE ON resumption BEGIN SELECT RAISE(ABORT, 'resumption is insert-only'); END;
