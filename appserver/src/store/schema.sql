-- Uploads of hosted applications (clause 8.3.1). `seq` is never used again, so it resumes streams and pages.
CREATE TABLE uploads (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    id           BLOB    NOT NULL UNIQUE,   -- message id, 16 bytes
    app          TEXT    NOT NULL,          -- application's id
    source       TEXT    NOT NULL,          -- address; the domain is left out for our own
    channel      TEXT    NOT NULL,          -- '' if the upload has none
    time         INTEGER NOT NULL,          -- ms, by the sender's word
    received     INTEGER NOT NULL,          -- ms, when it was stored
    content_type TEXT,
    sender_id    TEXT,
    attributes   TEXT,                      -- JSON, NULL if none
    data         BLOB    NOT NULL
) STRICT;
CREATE INDEX uploads_by_app ON uploads (app, seq);
CREATE INDEX uploads_by_source ON uploads (app, source, seq);

-- The last stored upload of each (application, source, channel). A row may name an upload that retention has removed.
CREATE TABLE latest (
    app     TEXT    NOT NULL,
    source  TEXT    NOT NULL,
    channel TEXT    NOT NULL,
    seq     INTEGER NOT NULL,
    PRIMARY KEY (app, source, channel)
) STRICT, WITHOUT ROWID;

-- The newest presence of each principal (clause 8.3.2), with the number of its change in the log.
CREATE TABLE presence (
    principal TEXT    PRIMARY KEY,
    epoch     INTEGER NOT NULL,
    seq       INTEGER NOT NULL,
    state     TEXT    NOT NULL,
    since     INTEGER NOT NULL,
    reason    TEXT    NOT NULL,
    n         INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX presence_by_n ON presence (n);

-- Every change of presence, numbered without gaps; bounded, oldest dropped first.
CREATE TABLE presence_log (
    n         INTEGER PRIMARY KEY AUTOINCREMENT,
    principal TEXT    NOT NULL,
    epoch     INTEGER NOT NULL,
    seq       INTEGER NOT NULL,
    state     TEXT    NOT NULL,
    since     INTEGER NOT NULL,
    reason    TEXT    NOT NULL
) STRICT;
