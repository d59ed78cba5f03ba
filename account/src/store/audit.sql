-- Refused logins stand in the log too, with their code.
ALTER TABLE audit ADD COLUMN status INTEGER NOT NULL DEFAULT 200;
CREATE INDEX audit_who ON audit (who, n);
CREATE INDEX audit_time ON audit (time);

-- Whom a line is about, so that one device's lines are found among millions.
CREATE TABLE audit_target (
    target TEXT    NOT NULL,              -- dev/lamp-1
    n      INTEGER NOT NULL,
    PRIMARY KEY (target, n)
) STRICT, WITHOUT ROWID;
CREATE INDEX audit_target_line ON audit_target (n);
INSERT INTO audit_target (target, n) SELECT what, n FROM audit WHERE instr(what, ' ') = 0;

-- Lines go only when they are older than this, which only rises.
CREATE TABLE audit_retention (
    one    INTEGER PRIMARY KEY CHECK (one = 1),
    before INTEGER NOT NULL
) STRICT;
INSERT INTO audit_retention (one, before) VALUES (1, 0);
CREATE TRIGGER audit_retention_rises BEFORE UPDATE ON audit_retention WHEN NEW.before < OLD.before
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_retention_stays BEFORE DELETE ON audit_retention
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
DROP TRIGGER audit_is_not_deleted;
CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit
WHEN OLD.time >= (SELECT before FROM audit_retention)
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_targets_go AFTER DELETE ON audit
BEGIN DELETE FROM audit_target WHERE n = OLD.n; END;
CREATE TRIGGER audit_target_is_not_changed BEFORE UPDATE ON audit_target
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_target_is_not_deleted BEFORE DELETE ON audit_target
WHEN EXISTS (SELECT 1 FROM audit WHERE n = OLD.n)
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
