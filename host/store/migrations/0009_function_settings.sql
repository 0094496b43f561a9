-- The most that a function's invocations may use, as JSON; null: no quotas.
ALTER TABLE functions ADD COLUMN quotas TEXT;

-- The change since which whoever changes its traffic needs a second person for it; null: nobody does.
ALTER TABLE functions ADD COLUMN approval_since BIGINT;

-- The traffic split that waits for that person, with who asked for it, as JSON; null: none waits.
ALTER TABLE functions ADD COLUMN pending TEXT;

-- The first of the keys that this one was rotated from: all of them are one person's. Null: it was not rotated.
ALTER TABLE api_keys ADD COLUMN person TEXT;

-- Who made a key is asked of the record once the key is gone.
CREATE INDEX changes_of_new_keys ON changes (subject) WHERE action = 'key.create';
