"""Talks to a gateway as an application does. OPENAI_BASE_URL and OPENAI_API_KEY say where; prints `all good` at the end."""

import math

import openai

CHAT, EMBEDDING = "tide-chat", "all-minilm-l6-v2"
QUESTION = [{"role": "user", "content": "What is assert?"}]


def chat(client: openai.OpenAI) -> str:
    answer = client.chat.completions.create(model=CHAT, messages=QUESTION, temperature=0)
    choice = answer.choices[0]
    assert choice.finish_reason == "stop", answer
    assert choice.message.role == "assistant" and choice.message.content, answer
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens, answer
    assert answer.model == CHAT and answer.object == "chat.completion", answer
    return choice.message.content


def stream(client: openai.OpenAI) -> str:
    chunks = list(
        client.chat.completions.create(
            model=CHAT, messages=QUESTION, temperature=0, stream=True, stream_options={"include_usage": True}
        )
    )
    assert len(chunks) > 5, chunks
    assert chunks[0].choices[0].delta.role == "assistant", chunks[0]
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens > 0, chunks[-1]
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


def embeddings(client: openai.OpenAI) -> None:
    texts = ["The cat sits on the mat.", "A cat is sitting on a mat.", "Interest rates were raised."]
    answer = client.embeddings.create(model=EMBEDDING, input=texts)
    vectors = [item.embedding for item in answer.data]
    assert [len(v) for v in vectors] == [384] * 3 and [item.index for item in answer.data] == [0, 1, 2]

    def cosine(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b)) / math.hypot(*a) / math.hypot(*b)

    assert cosine(vectors[0], vectors[1]) > 0.8 > 0.4 > cosine(vectors[0], vectors[2])
    one = client.embeddings.create(model=EMBEDDING, input=texts[0], encoding_format="float")
    assert cosine(one.data[0].embedding, vectors[0]) > 0.9999


def what_changes_nothing(client: openai.OpenAI, expected: str) -> None:
    answer = client.chat.completions.create(
        model=CHAT,
        messages=QUESTION,
        temperature=0,
        seed=2**63 - 1,
        store=True,
        metadata={"trace": "1"},
        safety_identifier="somebody",
        prompt_cache_key="questions",
        parallel_tool_calls=False,
        service_tier="auto",
        reasoning_effort="none",
        verbosity="medium",
        n=1,
    )
    assert answer.choices[0].message.content == expected, answer
    told = [{"role": "developer", "content": "Be brief."}, *QUESTION]
    assert client.chat.completions.create(model=CHAT, messages=told, max_tokens=4).choices[0].message.content


def refusals(client: openai.OpenAI) -> None:
    def refused(kind: type[openai.APIStatusError], call) -> openai.APIStatusError:
        try:
            call()
        except kind as error:
            return error
        raise AssertionError(f"no {kind.__name__}")

    def ask(with_client: openai.OpenAI, **more: object):
        return lambda: with_client.chat.completions.create(messages=QUESTION, **{"model": CHAT, **more})

    error = refused(openai.BadRequestError, ask(client, logit_bias={"5": 10}))
    assert error.body["param"] == "logit_bias", error.body
    error = refused(openai.BadRequestError, ask(client, seed=2**64 - 1))
    assert error.body["param"] == "seed", error.body
    refused(openai.NotFoundError, ask(client, model="no-such-model"))
    refused(openai.AuthenticationError, ask(client.with_options(api_key="tg_wrong")))
    good = client.api_key
    other_signature = good[:-8] + ("A" * 8 if not good.endswith("A" * 8) else "B" * 8)
    refused(openai.AuthenticationError, ask(client.with_options(api_key=other_signature)))


def main() -> None:
    client = openai.OpenAI(max_retries=0, timeout=60)
    models = {model.id for model in client.models.list()}
    assert {CHAT, EMBEDDING} <= models, models
    assert client.models.retrieve(CHAT).id == CHAT
    user = {"x-user-id": "one-and-the-same"}
    same_arm = client.with_options(default_headers=user)
    answer = chat(same_arm)
    assert answer == stream(same_arm)
    what_changes_nothing(same_arm, answer)
    embeddings(client)
    refusals(client)
    print("all good")


main()
