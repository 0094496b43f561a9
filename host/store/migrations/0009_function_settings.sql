-- The most that a function's invocations may use, as JSON; null: no quotas.
ALTER TABLE functions ADD COLUMN quotas TEXT;

-- Whether whoever changes its traffic needs a second person for it: 1, or 0.
ALTER TABLE functions ADD COLUMN needs_approval BIGINT NOT NULL DEFAULT 0;

-- The traffic split that waits for that person, with who asked for it, as JSON; null: none waits.
ALTER TABLE functions ADD COLUMN pending TEXT;

-- The first of the keys that this one was rotated from: all of them are one person's. Null: it was not rotated.
ALTER TABLE api_keys ADD COLUMN person TEXT;
