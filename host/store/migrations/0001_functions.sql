-- Portable between SQLite and PostgreSQL. Times are microseconds since 1970, UTC.
-- Every table belongs to tenants, and every key begins with the tenant.

-- Sequences whose numbers are never given twice, whatever is deleted meanwhile:
-- `changes`, and `revisions/<function>`.
CREATE TABLE counters (
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    last BIGINT NOT NULL,
    PRIMARY KEY (tenant, name)
);

-- What was changed, by whom. Rows are only ever added.
CREATE TABLE changes (
    tenant TEXT NOT NULL,
    id BIGINT NOT NULL,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    before_json TEXT,
    after_json TEXT,
    PRIMARY KEY (tenant, id)
);

-- Which blobs a tenant has uploaded. Tenants may share the bytes underneath, and never learn of it.
CREATE TABLE artifacts (
    tenant TEXT NOT NULL,
    digest TEXT NOT NULL,
    size_bytes BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    -- When it was last uploaded, asked for by an uploader, or let go by a revision.
    used_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, digest)
);
CREATE INDEX artifacts_by_digest ON artifacts (digest);

CREATE TABLE functions (
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    -- The change that made the row what it is.
    version BIGINT NOT NULL,
    -- The present row of `splits`; null until a revision was first activated.
    split BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, name)
);

CREATE TABLE revisions (
    tenant TEXT NOT NULL,
    function TEXT NOT NULL,
    number BIGINT NOT NULL,
    spec TEXT NOT NULL,
    details TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    PRIMARY KEY (tenant, function, number),
    FOREIGN KEY (tenant, function) REFERENCES functions (tenant, name)
);

-- The references that keep a blob alive.
CREATE TABLE revision_artifacts (
    tenant TEXT NOT NULL,
    function TEXT NOT NULL,
    revision BIGINT NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (tenant, function, revision, digest),
    FOREIGN KEY (tenant, function, revision) REFERENCES revisions (tenant, function, number),
    FOREIGN KEY (tenant, digest) REFERENCES artifacts (tenant, digest)
);
CREATE INDEX revision_artifacts_by_digest ON revision_artifacts (tenant, digest);

-- Every traffic split that a function had. `previous` is where a rollback leads: not to the row
-- before in time, so that rolling back twice goes back twice.
CREATE TABLE splits (
    tenant TEXT NOT NULL,
    function TEXT NOT NULL,
    id BIGINT NOT NULL,
    previous BIGINT,
    shares TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, function, id),
    FOREIGN KEY (tenant, function) REFERENCES functions (tenant, name)
);
