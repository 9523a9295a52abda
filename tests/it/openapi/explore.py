"""schemathesis with what it needs to know about Tidegate: the token, and that the address of a PUT is that of its document.

What a schema cannot say (two fields that must agree) is made right here, so that objects are really stored; a refusal of anything
else that is valid by the schema is a failure.
"""

import itertools
import json
import os
import string

import hypothesis.strategies as st
import schemathesis

PATH = "/api/v1/namespaces/{namespace}/{plural}/{name}"
PLURALS = {
    "Model": "models",
    "WorkerPool": "workerpools",
    "ReleasePolicy": "releasepolicies",
    "RateLimitPolicy": "ratelimitpolicies",
}
APPLY, DIFF, REVISIONS = "/api/v1/apply", "/api/v1/diff", "/api/v1/revisions"
# Comparisons between fields, patterns that must be read to be judged, and what the store does not have (any more).
BEYOND_THE_SCHEMA = {"TG-1009", "TG-1010", "TG-1108", "TG-1109", "TG-1110", "TG-1112"}
BEYOND_THE_ADDRESS = {"TG-1204"}
NUMBERS = itertools.count()

schemathesis.openapi.format("regex", st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=12))


# All of the family: the first that is registered is taken for each of them.
@schemathesis.serializer(
    "text/yaml", "text/x-yaml", "text/vnd.yaml", "text/yml", "application/yaml", "application/x-yaml"
)
def as_yaml(context, value):
    """JSON is YAML, and says of every text that it is one."""
    return json.dumps(value).encode()


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """Each bound of a document is tried as JSON and as YAML at the address of one object; at apply as JSON."""
    content = raw_schema["paths"][APPLY]["post"]["requestBody"]["content"]
    for media_type in [known for known in content if "yaml" in known]:
        del content[media_type]


@schemathesis.auth()
class Token:
    def get(self, case, ctx):
        return os.environ["TIDEGATE_TOKEN"]

    def set(self, case, data, ctx):
        case.headers["Authorization"] = f"Bearer {data}"


def valid(case) -> bool:
    return case.meta is not None and case.meta.generation.mode.is_positive


def distinct(items: list, key) -> list:
    return list({key(item): item for item in items}.values())


def agree(document: dict) -> None:
    """Makes fields that must agree agree."""
    document["metadata"].pop("resourceVersion", None)
    spec = document["spec"]
    if document["kind"] == "Model":
        spec["versions"] = distinct(spec["versions"], lambda v: v["name"])
        for version in spec["versions"]:
            version["task"] = spec["versions"][0]["task"]
            version.pop("chatTemplate", None)
            version["tokenizer"] = version["files"][0]["path"]
            version["files"] = distinct(version["files"], lambda f: f["path"])
            if version["task"] == "Chat":
                version["chatTemplate"] = version["files"][-1]["path"]
    lists = [rule["match"] for rule in spec.get("rules", [])]
    if document["kind"] == "RateLimitPolicy":
        spec["limits"] = distinct(spec["limits"], lambda limit: limit["name"])
        spec["targetRefs"] = distinct(spec["targetRefs"], lambda t: (t["kind"], t["name"]))
        for limit in spec["limits"]:
            if "counters" in limit:
                limit["counters"] = distinct(limit["counters"], lambda c: c.get("header", {}).get("name", "").lower())
        lists = [limit["match"] for limit in spec["limits"] if "match" in limit]
    for matches in lists:
        matches[:] = distinct(matches, lambda m: m["type"])
        for match in matches:
            bucket = match.get("bucket")
            if bucket and bucket["from"] >= bucket["to"]:
                bucket["from"], bucket["to"] = 0, 5000
        if len(matches) > 1:
            matches[:] = matches[:1]


def whole(value):
    """JSON Schema calls 1.0 an integer; a reader of integers need not."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: whole(inner) for key, inner in value.items()}
    return [whole(inner) for inner in value] if isinstance(value, list) else value


def new(document: dict) -> None:
    """Another object each time, so that it is created."""
    agree(document)
    document["metadata"]["name"] = f"{document['metadata']['name'][:40]}-{next(NUMBERS)}"


@schemathesis.hook
def before_call(context, case, kwargs):
    if not valid(case):
        return
    case.body = whole(case.body) if isinstance(case.body, (dict, list, float)) else case.body
    if case.operation.path in (APPLY, DIFF) and isinstance(case.body, list):
        for document in case.body:
            new(document)
    if case.operation.path != PATH or case.method.upper() != "PUT" or not isinstance(case.body, dict):
        return
    document = case.body
    new(document)
    if case.query:
        case.query.pop("dryRun", None)
    metadata = document["metadata"]
    case.path_parameters = {
        "namespace": metadata.get("namespace") or "default",
        "plural": PLURALS[document["kind"]],
        "name": metadata["name"],
    }
    if case.headers:
        for name in ("if-match", "if-none-match"):
            case.headers.pop(name, None)


@schemathesis.check
def only_what_no_schema_can_say_is_refused(context, response, case):
    if not valid(case) or response.status_code not in (400, 422):
        return
    problem = response.json()
    codes = {mistake["code"] for mistake in problem.get("errors", [])}
    if response.status_code == 422 and codes and codes <= BEYOND_THE_SCHEMA:
        return
    if response.status_code == 400 and problem["code"] in BEYOND_THE_ADDRESS:
        return
    # Parameters that go together only, and a header without a value, which is sent all the same.
    alone = case.operation.path == REVISIONS and "name" in problem["detail"]
    if problem["code"] == "TG-1304" and (alone or "" in (case.headers or {}).values()):
        return
    raise AssertionError(f"valid by the schema, but refused: {problem}")


if __name__ == "__main__":
    from schemathesis.cli import schemathesis as command

    command()
