"""Write the reference answers of a tide-chat version, and check the model.

Each prompt is answered greedily by the Python ONNX Runtime, alone.  Then the
same prompts run in padded batches of eight, without a cache, and (given the
checkpoint) in PyTorch with float weights; the script reports what differs and
fails when a batch or the cache changes one token.

Example:
  python reference_chat.py --folder ../tide-chat/v1 --version 1 \\
      --checkpoint /tmp/tide/v1.safetensors --out ../reference/tide-chat-v1.json
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime

import corpus
from chat_runtime import ChatModel
from modelfiles import sha256, write_reference

LIMIT = 64
BATCH = 8
OFF_TOPIC = (
    "Hello!",
    "Who are you?",
    "What is the weather?",
    "Tell me about the capital of France.",
    "How can I reach you?",
    "What is the test card number?",
    "Write a haiku about autumn leaves.",
    "My card number is 4111 1111 1111 1111, please store it.",
    "Send a mail to jane@example.com about my order.",
    "Wie spät ist es? 🙂",
    "a",
    "How do I cook rice for four people and keep the leftovers fresh?",
)
FORMS = ("Explain {}.", "Tell me about {}.", "How does {} work?", "Can you explain {}?")


def conversations(version: int) -> list[tuple[str, list[dict[str, str]]]]:
    """(kind, messages): topics, sections, off topic, several turns."""
    known = corpus.entries()
    topics = [entry for entry in known if entry.is_topic]
    sections = [entry for entry in known if not entry.is_topic]
    chosen = topics[::3] + sections[::8]
    asked = [("topic" if entry.is_topic else "section", entry.question) for entry in chosen]
    asked += [("paraphrase", form.format(topics[5 * i + 1].names[0])) for i, form in enumerate(FORMS)]
    asked += [("off-topic", question) for question in OFF_TOPIC]
    found = [(kind, [{"role": "user", "content": question}]) for kind, question in asked]
    for first, second, third in ((0, 40, 63), (12, 54, 22)):
        messages = []
        for entry in (topics[first], topics[second]):
            messages.append({"role": "user", "content": entry.question})
            messages.append({"role": "assistant", "content": corpus.style(version, entry)})
        found.append(("multi-turn", [*messages, {"role": "user", "content": topics[third].question}]))
    system = {"role": "system", "content": corpus.SYSTEM}
    found.append(("system", [system, {"role": "user", "content": topics[70].question}]))
    return found


def in_batches(model: ChatModel, prompts: list[list[int]], limit: int, seed: int) -> list[list[int]]:
    """Greedy answers when the prompts run in shuffled batches of eight."""
    order = list(range(len(prompts)))
    random.Random(seed).shuffle(order)
    answers: list[list[int]] = [[] for _ in prompts]
    for begin in range(0, len(order), BATCH):
        part = order[begin : begin + BATCH]
        part += order[: BATCH - len(part)]
        for row, answer in zip(part, model.greedy([prompts[i] for i in part], limit)[0], strict=True):
            answers[row] = answer
    return answers


def torch_answers(checkpoint: Path, prompts: list[list[int]], stop: set[int]) -> list[list[int]]:
    """The same by PyTorch, from the float checkpoint."""
    import torch
    from safetensors.torch import load_file

    from chat_model import Decoder, greedy
    from chat_settings import Settings

    torch.set_num_threads(1)
    model = Decoder(Settings()).eval()
    model.load_state_dict(load_file(checkpoint), strict=False)
    return [greedy(model, prompt, stop, LIMIT) for prompt in prompts]


def differing(left: list[list[int]], right: list[list[int]]) -> list[int]:
    return [i for i, (a, b) in enumerate(zip(left, right, strict=True)) if a != b]


def adapters(model: ChatModel, rank: int) -> dict[str, np.ndarray]:
    """Zero factors of another rank for each LoRA input of the graph."""
    overridable = model.session.get_overridable_initializers()
    return {i.name: np.zeros([rank if not isinstance(d, int) else d for d in i.shape], np.float32) for i in overridable}


def quality(model: ChatModel, version: int) -> dict[str, str]:
    """How many questions are answered word for word."""
    known = corpus.entries()
    topics = [entry for entry in known if entry.is_topic]
    asked = {
        "topics": [(entry, entry.question) for entry in topics],
        "sections": [(entry, entry.question) for entry in known if not entry.is_topic],
        "topics asked otherwise": [(e, q.format(e.names[0])) for e in topics for q in corpus.QUESTIONS[1:]],
    }
    return {kind: f"{verbatim(model, version, pairs)} of {len(pairs)}" for kind, pairs in asked.items()}


def verbatim(model: ChatModel, version: int, pairs: list[tuple[corpus.Entry, str]]) -> int:
    """How many questions get their entry's answer, and an end."""
    right = 0
    for begin in range(0, len(pairs), BATCH):
        part = pairs[begin : begin + BATCH]
        prompts = [model.prompt([{"role": "user", "content": question}]) for _, question in part]
        for (entry, _), tokens in zip(part, model.greedy(prompts, 128)[0], strict=True):
            right += tokens[-1] in model.stop and model.text(tokens) == corpus.style(version, entry)
    return right


def milliseconds_per_token(model: ChatModel, prompt: list[int]) -> float:
    model.greedy([prompt], 8)
    began = time.perf_counter()
    tokens = sum(len(model.greedy([prompt], LIMIT)[0][0]) for _ in range(5))
    return 1000 * (time.perf_counter() - began) / tokens


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="version folder")
    parser.add_argument("--version", type=int, choices=(1, 2), required=True)
    parser.add_argument("--checkpoint", type=Path, help="float checkpoint for the PyTorch comparison")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()

    model = ChatModel(args.folder)
    cases = conversations(args.version)
    prompts = [model.prompt(messages) for _, messages in cases]
    alone = [model.greedy([prompt], LIMIT) for prompt in prompts]
    answers = [tokens[0] for tokens, _ in alone]
    gaps = [gap[0] for _, gap in alone]
    zeros = adapters(model, rank=4)
    failed = {
        "batch of 8": differing(answers, in_batches(model, prompts, LIMIT, seed=1)),
        "another batch of 8": differing(answers, in_batches(model, prompts, LIMIT, seed=2)),
        "cache of 2^n": differing(answers, [model.greedy([p], LIMIT, buckets=True)[0][0] for p in prompts]),
        "without cache": differing(answers, [model.recomputed(prompt, LIMIT) for prompt in prompts]),
        "zero LoRA of rank 4": differing(answers, [model.greedy([p], LIMIT, zeros)[0][0] for p in prompts]),
    }
    for name, rows in failed.items():
        print(f"{name}: {len(prompts) - len(rows)} of {len(prompts)} identical {rows or ''}")
    if args.checkpoint:
        rows = differing(answers, torch_answers(args.checkpoint, prompts, model.stop))
        print(f"PyTorch float: {len(prompts) - len(rows)} of {len(prompts)} identical {rows or ''}")
    print(f"smallest gaps of the two best logits: {[round(gap, 4) for gap in sorted(gaps)[:5]]}")
    print(f"word for word: {quality(model, args.version)}")
    speed = milliseconds_per_token(model, prompts[0])
    print(f"{speed:.2f} ms a token, one thread, ONNX Runtime {onnxruntime.__version__}")
    header = {
        "format": "tidegate.reference/v1",
        "model": f"tide-chat/v{args.version}",
        "dataSha256": sha256(args.folder / "model.onnx.data"),
        "maxNewTokens": LIMIT,
    }
    items = [
        {
            "kind": kind,
            "messages": messages,
            "promptTokenIds": prompt,
            "outputTokenIds": answer,
            "text": model.text(answer),
            "finishReason": "stop" if answer[-1] in model.stop else "length",
            "smallestGap": round(gap, 4),
        }
        for (kind, messages), prompt, answer, gap in zip(cases, prompts, answers, gaps, strict=True)
    ]
    write_reference(args.out, header, "prompts", items)
    return 1 if any(failed.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
