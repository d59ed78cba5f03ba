-- One row for each password entered, until it is logged out or its refresh token has expired.
CREATE TABLE account_login (
    id          INTEGER PRIMARY KEY,      -- 64 random bits
    user        TEXT    NOT NULL,
    family      BLOB    NOT NULL UNIQUE,  -- keyed hash of the part that all its refresh tokens share
    turn        BLOB    NOT NULL,         -- keyed hash of the part that each use replaces
    began       INTEGER NOT NULL,
    standing    INTEGER NOT NULL,         -- it is refused when the user's tokens are good from a later time on
    used        INTEGER NOT NULL,
    expires     INTEGER NOT NULL,
    token_until INTEGER NOT NULL,         -- by then its last token has expired
    origin      TEXT    NOT NULL
) STRICT;
CREATE INDEX account_login_user ON account_login (user, used);
CREATE INDEX account_login_expires ON account_login (expires);

-- Codes with which users set a new password once.
CREATE TABLE account_reset (
    user    TEXT    PRIMARY KEY,
    code    BLOB    NOT NULL,             -- keyed hash
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
