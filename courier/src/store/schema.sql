-- One row per message this server has accepted: an outbox entry until it ends, then its receipt.
CREATE TABLE message (
    -- Order of acceptance. Never used twice: a lane remembers the greatest it has sent.
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    id          BLOB    NOT NULL UNIQUE,
    kind        TEXT    NOT NULL,
    hop         TEXT    NOT NULL,
    source      TEXT    NOT NULL,
    sender_id   TEXT,
    -- The envelope without its data, as JSON.
    head        TEXT    NOT NULL,
    -- NULL once the message has ended or another server has custody.
    data        BLOB,
    -- The server that handed the message to us and wants to hear its end.
    origin      TEXT,
    accepted_at INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    -- When it ends with 408: its expiry, and a grace more while another server has custody.
    due_at      INTEGER NOT NULL,
    sent_at     INTEGER,
    answered_at INTEGER,
    -- The next hop's status: 202 means custody.
    answered    INTEGER,
    ended_at    INTEGER,
    status      INTEGER,
    -- The receiver's own answer, as JSON.
    answer      TEXT
) STRICT;

CREATE UNIQUE INDEX message_sender ON message (source, sender_id)
    WHERE sender_id IS NOT NULL AND origin IS NULL;
CREATE INDEX message_waiting ON message (hop, seq) WHERE ended_at IS NULL AND answered_at IS NULL;
CREATE INDEX message_due ON message (due_at, kind) WHERE ended_at IS NULL;
CREATE INDEX message_ended ON message (ended_at) WHERE ended_at IS NOT NULL;

-- Envelopes that came over the bus and whose effect is stored, with what was answered.
CREATE TABLE seen (
    seq    INTEGER PRIMARY KEY AUTOINCREMENT,
    id     BLOB    NOT NULL,
    origin TEXT    NOT NULL,
    at     INTEGER NOT NULL,
    status INTEGER NOT NULL,
    UNIQUE (id, origin)
) STRICT;

-- status 0 counts the accepted, any other those that ended with it.
CREATE TABLE ledger (
    kind   TEXT    NOT NULL,
    status INTEGER NOT NULL,
    count  INTEGER NOT NULL,
    PRIMARY KEY (kind, status)
) STRICT, WITHOUT ROWID;
