-- From where a change was asked for, and what chains it to the one before: SHA-256 over both, as hexadecimal
-- digits. Null in rows of before; the host fills it in when it opens the metastore.
ALTER TABLE changes ADD COLUMN origin TEXT;
ALTER TABLE changes ADD COLUMN hash TEXT;
CREATE INDEX changes_without_hash ON changes (tenant) WHERE hash IS NULL;
