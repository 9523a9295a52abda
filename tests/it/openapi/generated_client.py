"""A day's work through a client that was generated from /openapi.json: create, read, change, list, compare, apply and delete each kind.

TIDEGATE_URL and TIDEGATE_TOKEN say where; prints `all good` at the end. Every answer must be of a type that the client has.
"""

import json
import os
import pathlib

from tidegate_admin import AuthenticatedClient, models
from tidegate_admin.api.explain import explain
from tidegate_admin.api.history import revisions, rollback
from tidegate_admin.api.keys import create_api_key, list_api_keys, revoke_api_key
from tidegate_admin.api.objects import (
    apply_documents,
    delete_object,
    diff_documents,
    get_object,
    list_objects,
    list_objects_everywhere,
    put_object,
)

PLURALS = {
    "Model": "models",
    "WorkerPool": "workerpools",
    "ReleasePolicy": "releasepolicies",
    "RateLimitPolicy": "ratelimitpolicies",
}
CHANGES = {
    "Model": lambda spec: spec["versions"].append(spec["versions"][0] | {"name": "v3"}),
    "WorkerPool": lambda spec: spec.update(replicas=0),
    "ReleasePolicy": lambda spec: spec["steps"][0].update(weight=35),
    "RateLimitPolicy": lambda spec: spec["limits"][0].update(concurrency=3),
}


def examples() -> dict[str, dict]:
    """The documents that the OpenAPI document shows."""
    document = json.loads(pathlib.Path(os.environ["TIDEGATE_OPENAPI"]).read_text())
    put = document["paths"]["/api/v1/namespaces/{namespace}/{plural}/{name}"]["put"]
    return {kind: shown["value"] for kind, shown in put["requestBody"]["content"]["application/json"]["examples"].items()}


def answer(response, status: int):
    assert response.status_code == status, (response.status_code, response.content)
    assert response.parsed is not None, response.content
    return response.parsed


def one_kind(client: AuthenticatedClient, kind: str, document: dict) -> None:
    plural = models.Plural(PLURALS[kind])
    cls = getattr(models, kind)
    name = document["metadata"]["name"]

    def put(body, status):
        return answer(put_object.sync_detailed("default", plural, name, client=client, body=cls.from_dict(body)), status)

    created = put(document, 201)
    assert isinstance(created, cls) and created.metadata.name == name, created
    read = answer(get_object.sync_detailed("default", plural, name, client=client), 200)
    assert isinstance(read, cls), read
    assert read.to_dict()["metadata"]["uid"] == created.to_dict()["metadata"]["uid"]
    # What was read is sent back: nothing changes.
    again = put(read.to_dict(), 200)
    assert again.to_dict()["metadata"]["resourceVersion"] == read.to_dict()["metadata"]["resourceVersion"]
    changed = json.loads(json.dumps(document))
    CHANGES[kind](changed["spec"])
    difference = answer(diff_documents.sync_detailed(client=client, body=[cls.from_dict(changed)]), 200)
    assert [c.outcome for c in difference.changes] == ["Configured"] and difference.changes[0].diff, difference
    after = put(changed, 200)
    assert after.to_dict()["metadata"]["generation"] == 2, after
    for page in (
        answer(list_objects.sync_detailed("default", plural, client=client, limit=500), 200),
        answer(list_objects_everywhere.sync_detailed(plural, client=client), 200),
    ):
        assert [item.metadata.name for item in page.items] == [name], page
    wrong = json.loads(json.dumps(document))
    wrong["metadata"]["name"] = "other"
    refused = put_object.sync_detailed("default", plural, name, client=client, body=cls.from_dict(wrong))
    assert isinstance(answer(refused, 409), models.Problem), refused


def main() -> None:
    client = AuthenticatedClient(base_url=os.environ["TIDEGATE_URL"], token=os.environ["TIDEGATE_TOKEN"])
    documents = examples()
    assert set(documents) == set(PLURALS), documents.keys()
    for kind, document in documents.items():
        one_kind(client, kind, document)
    everything = [getattr(models, kind).from_dict(document) for kind, document in documents.items()]
    applied = answer(apply_documents.sync_detailed(client=client, body=everything), 200)
    assert [r.outcome for r in applied.results] == ["Configured"] * 4, applied
    asked = models.ExplainRequest.from_dict({"model": "chat", "headers": [{"name": "x-user-id", "value": "u1"}]})
    assert answer(explain.sync_detailed(client=client, body=asked), 200).model == "chat"
    lines = answer(revisions.sync_detailed(client=client), 200).items
    assert len(lines) == 12, len(lines)
    back = models.RollbackRequest.from_dict({"revision": lines[-1].revision, "dryRun": True})
    assert len(answer(rollback.sync_detailed(client=client, body=back), 200).results) == 3
    key = answer(create_api_key.sync_detailed(client=client, body=models.NewApiKey.from_dict({"tenant": "acme"})), 201)
    assert key.key and [k.id for k in answer(list_api_keys.sync_detailed(client=client), 200).items] == [key.id]
    assert answer(revoke_api_key.sync_detailed(key.id, client=client), 200).revoked_at
    for kind, document in documents.items():
        plural = models.Plural(PLURALS[kind])
        answer(delete_object.sync_detailed("default", plural, document["metadata"]["name"], client=client), 200)
        gone = answer(get_object.sync_detailed("default", plural, document["metadata"]["name"], client=client), 404)
        assert isinstance(gone, models.Problem) and gone.code == "TG-1203", gone
    print("all good")


if __name__ == "__main__":
    main()
