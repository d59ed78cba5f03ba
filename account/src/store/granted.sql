-- What other domains have granted to applications and users of this one, as they told it (clause 8.7). What was withdrawn
-- stays with neither right: whoever granted it may hold copies, and is told when the receiver is deleted.
CREATE TABLE granted (
    receiver TEXT    NOT NULL,            -- usr/bob
    domain   TEXT    NOT NULL,
    giver    TEXT    NOT NULL,            -- dev/lamp-1@other.example
    n        INTEGER NOT NULL,            -- by the other domain's numbers
    hears    INTEGER NOT NULL,
    pushes   INTEGER NOT NULL,
    PRIMARY KEY (receiver, domain, giver)
) STRICT, WITHOUT ROWID;

-- The grants that name somebody of another domain, for when that one is deleted there.
CREATE INDEX entity_granted_to ON entity (json_extract(state, '$.grant.to')) WHERE key >= 'grant/' AND key < 'grant0';
