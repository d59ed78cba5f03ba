CREATE TABLE account_certificate (
    identity TEXT PRIMARY KEY,            -- fingerprint, or fingerprint of the authority/name
    device   TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX account_certificate_device ON account_certificate (device);
