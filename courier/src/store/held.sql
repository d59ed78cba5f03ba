-- Envelopes that were passed by because this server failed at them, or because they follow one it failed at. Each comes
-- again; until then nothing its source has sent to the same destination after it is taken.
CREATE TABLE held (
    origin      TEXT    NOT NULL,
    -- Its place in its sender's outbox.
    seq         INTEGER NOT NULL,
    id          BLOB    NOT NULL,
    source      TEXT    NOT NULL,
    destination TEXT    NOT NULL,
    expires_at  INTEGER NOT NULL,
    PRIMARY KEY (origin, seq)
) STRICT, WITHOUT ROWID;
