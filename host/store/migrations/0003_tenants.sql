-- Who owns what. A name is never given twice: what is left of a tenant that was deleted, such as its
-- changes and its usage, must not become another one's.
CREATE TABLE tenants (
    name TEXT NOT NULL PRIMARY KEY,
    trust TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    -- Null while it exists.
    deleted_at BIGINT
);

-- Keys, without what would let anybody use them.
CREATE TABLE api_keys (
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    -- SHA-256 of the whole key.
    digest TEXT NOT NULL,
    role TEXT NOT NULL,
    -- The functions that it is for, as JSON; null: all of them.
    functions TEXT,
    description TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    expires_at BIGINT,
    -- How long it was to be used when it was made, in seconds, for those that take its place.
    lifetime_s BIGINT,
    -- Written now and then, so up to a minute behind.
    last_used_at BIGINT,
    PRIMARY KEY (tenant, id),
    FOREIGN KEY (tenant) REFERENCES tenants (name)
);
CREATE UNIQUE INDEX api_keys_by_id ON api_keys (id);
