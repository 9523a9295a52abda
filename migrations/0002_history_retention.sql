-- The history may lose its old end. What was at a revision below kept_from is no longer known for every object.
ALTER TABLE store_revision ADD COLUMN kept_from bigint NOT NULL DEFAULT 1 CHECK (kept_from >= 1);

-- No line is ever changed, and lines go only in a transaction that says what it does.
CREATE OR REPLACE FUNCTION refuse_history_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND current_setting('tidegate.prune_history', true) = 'on' THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'the history of the policy store is append-only' USING ERRCODE = 'restrict_violation';
END
$$;
