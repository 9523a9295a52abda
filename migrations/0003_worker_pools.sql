-- WorkerPools may no longer have labels, nor a drain of nothing: what is stored becomes valid, by a revision like any other.
SELECT FROM store_revision FOR UPDATE;

WITH valid AS (
    UPDATE objects SET
        spec = CASE WHEN spec #>> '{timeouts,drain}' ~ '^0+(ms|s|m|h)$'
                    THEN jsonb_set(spec, '{timeouts,drain}', '"1ms"') ELSE spec END - 'labels',
        generation = generation + 1,
        revision = (SELECT revision + 1 FROM store_revision)
    WHERE kind = 'WorkerPool'
      AND (spec -> 'labels' <> '{}' OR spec #>> '{timeouts,drain}' ~ '^0+(ms|s|m|h)$')
    RETURNING *
), told AS (
    INSERT INTO revisions (revision, kind, namespace, name, at, author, source, outcome, uid, generation, labels, annotations, spec)
    SELECT revision, kind, namespace, name, clock_timestamp(), 'tidegate upgrade', source, 'Configured', uid, generation,
           labels, annotations, spec
    FROM valid
)
UPDATE store_revision SET revision = revision + 1 WHERE EXISTS (SELECT FROM valid);

UPDATE store_changes SET seq = seq + 1;
