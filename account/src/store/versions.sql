-- A record's version rises with every change of it, whoever makes the change; it is the record's ETag.
ALTER TABLE account_user ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
ALTER TABLE account_device ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
ALTER TABLE account_application ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
CREATE TRIGGER account_user_version AFTER UPDATE OF modified ON account_user
BEGIN UPDATE account_user SET version = version + 1 WHERE id = NEW.id; END;
CREATE TRIGGER account_device_version AFTER UPDATE OF modified ON account_device
BEGIN UPDATE account_device SET version = version + 1 WHERE id = NEW.id; END;
CREATE TRIGGER account_application_version AFTER UPDATE OF modified ON account_application
BEGIN UPDATE account_application SET version = version + 1 WHERE id = NEW.id; END;
-- A device shows its owner.
CREATE TRIGGER account_binding_made AFTER INSERT ON account_binding
BEGIN UPDATE account_device SET version = version + 1 WHERE id = NEW.device; END;
CREATE TRIGGER account_binding_changed AFTER UPDATE ON account_binding
BEGIN UPDATE account_device SET version = version + 1 WHERE id = NEW.device; END;
CREATE TRIGGER account_binding_ended AFTER DELETE ON account_binding
BEGIN UPDATE account_device SET version = version + 1 WHERE id = OLD.device; END;

-- Requests with an Idempotency-Key that were carried out, so that a repeat is answered and not done again.
CREATE TABLE repeat (
    key       BLOB    PRIMARY KEY,        -- keyed hash of caller and key
    request   BLOB    NOT NULL,           -- keyed hash of method, path and body
    operation INTEGER,
    secret    INTEGER NOT NULL,           -- whether the answer holds one
    answer    BLOB,                       -- sealed under the caller's key, which is not stored; NULL when its time is over
    time      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX repeat_time ON repeat (time);
