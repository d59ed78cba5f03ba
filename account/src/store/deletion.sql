-- Which other domains were told that a device or user is deleted, and what each said. A principal's id is never given again.
CREATE TABLE deletion (
    principal TEXT    NOT NULL,
    domain    TEXT    NOT NULL,
    told      INTEGER NOT NULL,
    message   BLOB    NOT NULL UNIQUE,
    -- What it ended with and when; NULL while nothing is known.
    status    INTEGER,
    ended     INTEGER,
    PRIMARY KEY (principal, domain)
) STRICT, WITHOUT ROWID;
