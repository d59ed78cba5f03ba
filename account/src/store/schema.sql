-- What the other servers are told (clause 8.2): the present state of every entity under the change that last touched
-- it. A row without a state is the trace of what was deleted: its id is not used again.
CREATE TABLE entity (
    key   TEXT    PRIMARY KEY,            -- dev/lamp-1, bind/lamp-1/ann, key/<id>
    n     INTEGER NOT NULL UNIQUE,
    state TEXT                            -- protocol::change::Entity as JSON
) STRICT, WITHOUT ROWID;

-- What is the account server's own of users, devices and applications. Times are milliseconds since 1970.
CREATE TABLE account_user (
    id       TEXT    PRIMARY KEY,
    password TEXT,                        -- Argon2id, PHC text form
    created  INTEGER NOT NULL,
    modified INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE account_device (
    id         TEXT    PRIMARY KEY,
    attributes TEXT    NOT NULL,          -- JSON object of texts
    created    INTEGER NOT NULL,
    modified   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE account_application (
    id       TEXT    PRIMARY KEY,
    created  INTEGER NOT NULL,
    modified INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE account_binding (
    device TEXT    NOT NULL,
    user   TEXT    NOT NULL,
    owner  INTEGER NOT NULL,
    since  INTEGER NOT NULL,
    PRIMARY KEY (device, user)
) STRICT, WITHOUT ROWID;
CREATE INDEX account_binding_user ON account_binding (user, device);

-- One transaction's changes, numbered by the last of them, and the envelopes that carry them.
CREATE TABLE operation (
    n    INTEGER PRIMARY KEY,
    time INTEGER NOT NULL
) STRICT;
CREATE TABLE dispatch (
    message   BLOB    PRIMARY KEY,        -- id of the envelope
    operation INTEGER NOT NULL,
    follower  TEXT    NOT NULL,           -- message or app
    status    INTEGER,                    -- what it ended with; NULL while pending
    ended     INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX dispatch_operation ON dispatch (operation);

CREATE TABLE audit (
    n      INTEGER PRIMARY KEY AUTOINCREMENT,
    time   INTEGER NOT NULL,
    who    TEXT    NOT NULL,
    action TEXT    NOT NULL,
    what   TEXT    NOT NULL,
    origin TEXT    NOT NULL
) STRICT;
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
