-- What retention looks for is in the index alone: it reads no document.
DROP INDEX revisions_by_object;
CREATE INDEX revisions_by_object ON revisions (kind, namespace, name, revision DESC) INCLUDE (at, outcome);
