-- A second copy of what a damaged page could hide: a b-tree whose newest row is lost looks like a
-- shorter one. Triggers write the copy in the transaction of the first one, on other pages, and the
-- program compares the two.

-- The newest head: what the log is held to is never lowered.
CREATE TABLE newest_head (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    size    INTEGER NOT NULL CHECK (size >= 0),
    root    BLOB NOT NULL CHECK (length(root) = 32),
    note    TEXT NOT NULL,
    seen_at INTEGER NOT NULL
) STRICT;
INSERT INTO newest_head (id, size, root, note, seen_at)
    SELECT 1, size, root, note, seen_at FROM head ORDER BY size DESC LIMIT 1;

CREATE TRIGGER head_inserted AFTER INSERT ON head
    WHEN NEW.size > (SELECT coalesce(max(size), -1) FROM newest_head)
BEGIN
    INSERT INTO newest_head (id, size, root, note, seen_at)
        VALUES (1, NEW.size, NEW.root, NEW.note, NEW.seen_at)
        ON CONFLICT (id) DO UPDATE SET
            size = excluded.size, root = excluded.root, note = excluded.note, seen_at = excluded.seen_at;
END;
CREATE TRIGGER newest_head_backwards BEFORE UPDATE ON newest_head WHEN NEW.size <= OLD.size
    BEGIN SELECT RAISE(ABORT, 'the newest head only moves forward'); END;
CREATE TRIGGER newest_head_delete BEFORE DELETE ON newest_head
    BEGIN SELECT RAISE(ABORT, 'the newest head only moves forward'); END;

-- A stop that is forgotten would let a log be believed that has lied.
CREATE TABLE incident_copy (
    id      INTEGER PRIMARY KEY CHECK (id > 0),
    text    TEXT NOT NULL,
    seen_at INTEGER NOT NULL
) STRICT;
INSERT INTO incident_copy (id, text, seen_at) SELECT id, text, seen_at FROM incident;
CREATE TABLE resumption_copy (
    incident   INTEGER PRIMARY KEY,
    resumed_at INTEGER NOT NULL
) STRICT;
INSERT INTO resumption_copy (incident, resumed_at) SELECT incident, resumed_at FROM resumption;

CREATE TRIGGER incident_inserted AFTER INSERT ON incident BEGIN
    INSERT INTO incident_copy (id, text, seen_at) VALUES (NEW.id, NEW.text, NEW.seen_at);
END;
CREATE TRIGGER resumption_inserted AFTER INSERT ON resumption BEGIN
    INSERT INTO resumption_copy (incident, resumed_at) VALUES (NEW.incident, NEW.resumed_at);
END;
CREATE TRIGGER incident_copy_update BEFORE UPDATE ON incident_copy
    BEGIN SELECT RAISE(ABORT, 'incident is insert-only'); END;
CREATE TRIGGER incident_copy_delete BEFORE DELETE ON incident_copy
    BEGIN SELECT RAISE(ABORT, 'incident is insert-only'); END;
CREATE TRIGGER resumption_copy_update BEFORE UPDATE ON resumption_copy
    BEGIN SELECT RAISE(ABORT, 'resumption is insert-only'); END;
CREATE TRIGGER resumption_copy_delete BEFORE DELETE ON resumption_copy
    BEGIN SELECT RAISE(ABORT, 'resumption is insert-only'); END;
