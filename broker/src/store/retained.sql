-- The last retained message of each live topic. What the platform itself retains stands in tables of its own.

CREATE TABLE retained (
    topic   TEXT PRIMARY KEY,
    publish INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TRIGGER retained_put AFTER INSERT ON retained BEGIN
    UPDATE stored_publish SET holders = holders + 1 WHERE id = new.publish;
END;
CREATE TRIGGER retained_gone AFTER DELETE ON retained BEGIN
    UPDATE stored_publish SET holders = holders - 1 WHERE id = old.publish;
    DELETE FROM stored_publish WHERE id = old.publish AND holders <= 0;
END;
