-- The policy store: objects, their history, leases of fleet facts, tokens and keys.
-- Text that is sorted or compared has the C collation, so that every server and the tests order it alike.

-- One row, locked first by every transaction that makes a revision: revisions are committed in the order of their
-- numbers, and no reader can see revision n + 1 before n.
CREATE TABLE store_revision (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    revision bigint NOT NULL CHECK (revision >= 0)
);
INSERT INTO store_revision (revision) VALUES (0);

-- One row, counted up as the last statement of every transaction that changes what compile reads. A plain counter, not a
-- sequence: a sequence would show its new value before the change can be read, and a poller would miss the change.
CREATE TABLE store_changes (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    seq      bigint NOT NULL
);
INSERT INTO store_changes (seq) VALUES (0);

CREATE TABLE objects (
    kind        text COLLATE "C" NOT NULL,
    namespace   text COLLATE "C" NOT NULL,
    name        text COLLATE "C" NOT NULL,
    uid         uuid NOT NULL UNIQUE,
    generation  bigint NOT NULL CHECK (generation >= 1),
    revision    bigint NOT NULL CHECK (revision >= 1),
    created_at  timestamptz NOT NULL,
    source      text NOT NULL CHECK (source IN ('Rest', 'File', 'Kubernetes')),
    labels      jsonb NOT NULL CHECK (jsonb_typeof(labels) = 'object'),
    annotations jsonb NOT NULL CHECK (jsonb_typeof(annotations) = 'object'),
    spec        jsonb NOT NULL CHECK (jsonb_typeof(spec) = 'object'),
    status      jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(status) = 'object'),
    PRIMARY KEY (kind, namespace, name)
);

-- One transaction is one revision and touches an object at most once.
CREATE TABLE revisions (
    revision    bigint NOT NULL CHECK (revision >= 1),
    kind        text COLLATE "C" NOT NULL,
    namespace   text COLLATE "C" NOT NULL,
    name        text COLLATE "C" NOT NULL,
    at          timestamptz NOT NULL,
    author      text NOT NULL,
    source      text NOT NULL CHECK (source IN ('Rest', 'File', 'Kubernetes')),
    outcome     text NOT NULL CHECK (outcome IN ('Created', 'Configured', 'Deleted')),
    uid         uuid NOT NULL,
    generation  bigint NOT NULL,
    labels      jsonb NOT NULL,
    annotations jsonb NOT NULL,
    spec        jsonb CHECK ((spec IS NULL) = (outcome = 'Deleted')),
    PRIMARY KEY (revision, kind, namespace, name)
);
CREATE INDEX revisions_by_object ON revisions (kind, namespace, name, revision DESC);

CREATE FUNCTION refuse_history_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the history of the policy store is append-only' USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER revisions_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON revisions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_history_change();

-- What workers said last. A row lives until the keeper drops it.
CREATE TABLE worker_leases (
    node_id        text COLLATE "C" PRIMARY KEY,
    incarnation    text NOT NULL,
    pool_namespace text NOT NULL,
    pool_name      text NOT NULL,
    address        text NOT NULL CONSTRAINT worker_leases_address UNIQUE,
    ready          boolean NOT NULL,
    versions       jsonb NOT NULL CHECK (jsonb_typeof(versions) = 'array'),
    ttl_ms         bigint NOT NULL CHECK (ttl_ms > 0),
    expires_at     timestamptz NOT NULL
);

-- When leases were last looked through: leases do not run out while nobody could renew them.
CREATE TABLE lease_keeper (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    seen_at  timestamptz NOT NULL
);
INSERT INTO lease_keeper (seen_at) VALUES ('-infinity');

-- Hashes only.
CREATE TABLE admin_tokens (
    name       text COLLATE "C" PRIMARY KEY,
    sha256     bytea NOT NULL UNIQUE CHECK (octet_length(sha256) = 32),
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE node_tokens (
    node_id    text COLLATE "C" PRIMARY KEY,
    sha256     bytea NOT NULL UNIQUE CHECK (octet_length(sha256) = 32),
    role       jsonb NOT NULL,
    created_at timestamptz NOT NULL
);

-- Public halves only.
CREATE TABLE api_keys (
    id          text COLLATE "C" PRIMARY KEY,
    tenant      text NOT NULL,
    description text NOT NULL,
    jwk         jsonb NOT NULL CHECK (jsonb_typeof(jwk) = 'object' AND NOT jwk ? 'd'),
    created_at  timestamptz NOT NULL,
    expires_at  timestamptz,
    revoked_at  timestamptz
);
