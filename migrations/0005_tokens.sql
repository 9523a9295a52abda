-- Tokens that are seen to: admin tokens have an id, an end and a last use; a node's earlier tokens live on for a while after a rotation.
ALTER TABLE admin_tokens
    DROP CONSTRAINT admin_tokens_pkey,
    ADD COLUMN id text COLLATE "C" NOT NULL DEFAULT replace(gen_random_uuid()::text, '-', ''),
    ADD COLUMN expires_at timestamptz,
    ADD COLUMN revoked_at timestamptz,
    ADD COLUMN last_used_at timestamptz,
    ADD PRIMARY KEY (id);
ALTER TABLE admin_tokens ALTER COLUMN id DROP DEFAULT;

-- Every token that a node has. The newest has no end.
ALTER TABLE node_tokens
    DROP CONSTRAINT node_tokens_pkey,
    DROP CONSTRAINT node_tokens_sha256_key,
    ADD PRIMARY KEY (sha256),
    ADD COLUMN ends_at timestamptz,
    ADD COLUMN last_used_at timestamptz;
CREATE UNIQUE INDEX node_tokens_newest ON node_tokens (node_id) WHERE ends_at IS NULL;
CREATE INDEX node_tokens_by_node ON node_tokens (node_id);
