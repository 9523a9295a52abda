"""A plain ONNX Runtime loop for tide-chat: greedy, alone or in a batch.

It is the reference for the worker's own loop, so it stays as simple as it can
be: right-padded prefill, then one token a step for each row, with the key and
value outputs of a step as the inputs of the next.
"""

from __future__ import annotations

import json
from pathlib import Path

import minijinja
import numpy as np
import onnxruntime as ort
from tokenizers import Tokenizer


def to_bucket(cache: np.ndarray) -> np.ndarray:
    """Widen [batch, heads, past, head_dim] to a power of two."""
    width = cache.shape[2]
    spare = (1 << (width - 1).bit_length()) - width
    return np.pad(cache, ((0, 0), (0, 0), (0, spare), (0, 0)), constant_values=7.0)


class ChatModel:
    """One version folder: session, tokenizer, chat template, config."""

    def __init__(self, folder: Path, threads: int = 1):
        self.config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self.template = (folder / "chat_template.jinja").read_text(encoding="utf-8")
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = ort.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
        self.outputs = [output.name for output in self.session.get_outputs()]
        self.stop = set(self.config["eosTokenIds"])

    def prompt(self, messages: list[dict[str, str]]) -> list[int]:
        """Token ids of a conversation, up to the assistant's turn."""
        env = minijinja.Environment(templates={"chat": self.template})
        text = env.render_template("chat", messages=messages, add_generation_prompt=True)
        return self.tokenizer.encode(text).ids

    def text(self, tokens: list[int]) -> str:
        return self.tokenizer.decode([t for t in tokens if t not in self.stop], skip_special_tokens=False)

    def empty_past(self, rows: int) -> dict[str, np.ndarray]:
        shape = (rows, self.config["kvHeads"], 0, self.config["headDim"])
        return {
            f"past_key_values.{layer}.{part}": np.zeros(shape, np.float32)
            for layer in range(self.config["layers"])
            for part in ("key", "value")
        }

    def step(self, ids: np.ndarray, lengths: np.ndarray, past: dict, extra: dict | None = None):
        """Run once; `lengths` count each row's tokens with the new ones."""
        feeds = {
            "input_ids": ids.astype(np.int64),
            "seqlens_k": (lengths - 1).astype(np.int32),
            "total_sequence_length": np.array(lengths.max(), np.int32),
            **past,
            **(extra or {}),
        }
        logits, *present = self.session.run(self.outputs, feeds)
        names = (name.replace("present", "past_key_values") for name in self.outputs[1:])
        return logits, dict(zip(names, present, strict=True))

    def greedy(self, prompts: list[list[int]], limit: int, extra: dict | None = None, buckets: bool = False):
        """Greedy tokens of each prompt, and each row's smallest top-two gap.

        With `buckets` the cache is kept at a power of two, with garbage in
        the unused part.
        """
        rows = len(prompts)
        lengths = np.array([len(prompt) for prompt in prompts])
        ids = np.full((rows, lengths.max()), self.config["padTokenId"])
        for row, prompt in enumerate(prompts):
            ids[row, : len(prompt)] = prompt
        logits, past = self.step(ids, lengths, self.empty_past(rows), extra)
        last = logits[np.arange(rows), lengths - 1]
        answers: list[list[int]] = [[] for _ in prompts]
        gaps = [np.inf] * rows
        while True:
            tokens = last.argmax(axis=1)
            for row in range(rows):
                if not self._ended(answers[row], limit):
                    second, first = np.partition(last[row], -2)[-2:]
                    gaps[row] = min(gaps[row], float(first - second))
                    answers[row].append(int(tokens[row]))
            if all(self._ended(answer, limit) for answer in answers):
                return answers, gaps
            lengths = lengths + 1
            past = {name: to_bucket(value) for name, value in past.items()} if buckets else past
            logits, past = self.step(tokens[:, None], lengths, past, extra)
            last = logits[:, 0]

    def recomputed(self, prompt: list[int], limit: int) -> list[int]:
        """Greedy tokens without a cache: the whole sequence at each step."""
        answer: list[int] = []
        while not self._ended(answer, limit):
            ids = np.array([prompt + answer])
            logits, _ = self.step(ids, np.array([ids.shape[1]]), self.empty_past(1))
            answer.append(int(logits[0, -1].argmax()))
        return answer

    def _ended(self, answer: list[int], limit: int) -> bool:
        return len(answer) >= limit or bool(answer and answer[-1] in self.stop)
