-- Where the services of external applications are (clause 7.4).
CREATE TABLE external_endpoint (
    app       TEXT    PRIMARY KEY,
    url       TEXT    NOT NULL,
    mode      TEXT    NOT NULL,            -- 'binary' or 'structured'
    confirmed INTEGER,                     -- ms; NULL: nothing is sent
    paused    INTEGER NOT NULL,
    secrets   BLOB    NOT NULL,            -- sealed, see external/seal.rs
    created   INTEGER NOT NULL,
    modified  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The last tries to deliver, bounded per application, oldest dropped first.
CREATE TABLE external_delivery (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    app         TEXT    NOT NULL,
    message     BLOB,                      -- NULL: a challenge or a test
    kind        TEXT    NOT NULL,          -- the event's type
    source      TEXT    NOT NULL,
    attempt     INTEGER NOT NULL,
    time        INTEGER NOT NULL,          -- ms, when it began
    duration_ms INTEGER NOT NULL,
    code        INTEGER,                   -- HTTP status, NULL without an answer
    outcome     TEXT    NOT NULL,
    error       TEXT
) STRICT;
CREATE INDEX external_delivery_of ON external_delivery (app, seq);
