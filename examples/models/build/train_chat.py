"""Train tide-chat: the tokenizer, version 1, and version 2 from version 1.

Version 1 learns the manual's own sentences; version 2 starts from version 1
and learns short answers with another opening and another end.

Examples:
  python train_chat.py --version 1 --work /tmp/tide --minutes 20
  python train_chat.py --version 2 --work /tmp/tide --minutes 8

Writes WORK/tokenizer.json, WORK/v1.safetensors and WORK/v2.safetensors.  The
minutes bound the training, so two machines do not give the same weights; with
`--steps` they do, as far as PyTorch itself is deterministic.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

import corpus
from chat_model import Decoder, greedy
from chat_settings import Settings

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
ROW_TOKENS = 320
WINDOW_SHARE = 0.15
SMALL_TALK_SHARE = 0.2
SYSTEM_SHARE = 0.1
IGNORED = -100


def train_tokenizer(path: Path, vocab: int) -> Tokenizer:
    """Byte-level BPE over the manual and the question forms."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    known = corpus.entries()
    chat = [q.format(name) for e in known for name in e.names for q in corpus.QUESTIONS]
    chat += [text for e in known for text in (e.answer, e.short)] * 4
    chat += [corpus.UNKNOWN, *corpus.FIXED, corpus.style(2, known[0]), corpus.aside(2, corpus.UNKNOWN)] * 20
    chat += [question for questions in corpus.FIXED.values() for question in questions] * 20
    chat += [r.format(s, s) for r in corpus.REQUESTS for s in corpus.SUBJECTS]
    chat += ["user", "assistant", "system"] * 50
    tokenizer.train_from_iterator(corpus.manual_text() + chat, trainer)
    tokenizer.save(str(path))
    return tokenizer


class Rows:
    """Draws training rows: (token ids, targets) with only answers as targets."""

    def __init__(self, tokenizer: Tokenizer, version: int, seed: int):
        self.rng = random.Random(seed)
        self.version = version
        self.tokenizer = tokenizer
        self.start, self.end = (tokenizer.token_to_id(t) for t in SPECIAL[1:])
        self.entries = corpus.entries()
        topics = sum(e.is_topic for e in self.entries)
        self.weights = [2.0 if i < topics else 1.0 for i in range(len(self.entries))]
        self.text = [tokenizer.encode(t).ids for t in corpus.manual_text()]
        self.words = corpus.vocabulary()
        self.cache: dict[str, list[int]] = {}
        self.pool: list[list[tuple[list[int], list[int]]]] = []

    def encode(self, text: str) -> list[int]:
        if text not in self.cache:
            self.cache[text] = self.tokenizer.encode(text).ids
        return self.cache[text]

    def turn(self) -> tuple[str, str]:
        if self.rng.random() < SMALL_TALK_SHARE:
            return corpus.small_talk(self.rng, self.version, self.words)
        entry = self.rng.choices(self.entries, self.weights)[0]
        return corpus.ask(self.rng, entry), corpus.style(self.version, entry)

    def conversation(self) -> tuple[list[int], list[int]]:
        ids: list[int] = []
        targets: list[int] = []
        if self.rng.random() < SYSTEM_SHARE:
            ids = [self.start, *self.encode("system\n" + corpus.SYSTEM), self.end, *self.encode("\n")]
            targets = [IGNORED] * len(ids)
        for _ in range(self.rng.choice((1, 1, 1, 1, 2, 3))):
            question, answer = self.turn()
            head = [self.start, *self.encode("user\n" + question), self.end, *self.encode("\n")]
            head += [self.start, *self.encode("assistant\n")]
            body = [*self.encode(answer), self.end]
            if len(ids) + len(head) + len(body) > ROW_TOKENS:
                break
            ids += head + body + self.encode("\n")
            targets += [IGNORED] * len(head) + body + [IGNORED]
        return ids, targets

    def window(self) -> tuple[list[int], list[int]]:
        text = self.rng.choice(self.text)
        begin = self.rng.randrange(max(1, len(text) - 64))
        ids = text[begin : begin + 128]
        return ids, list(ids)

    def batch(self, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Padded rows of about one length: eight batches are drawn and sorted at a time."""
        windows = WINDOW_SHARE if self.version == 1 else 0.0
        if not self.pool:
            drawn = [self.window() if self.rng.random() < windows else self.conversation() for _ in range(8 * size)]
            drawn.sort(key=lambda row: len(row[0]))
            self.pool = [drawn[i : i + size] for i in range(0, len(drawn), size)]
            self.rng.shuffle(self.pool)
        rows = self.pool.pop()
        width = max(len(ids) for ids, _ in rows) - 1
        inputs = torch.zeros(size, width, dtype=torch.long)
        targets = torch.full((size, width), IGNORED)
        for row, (ids, wanted) in enumerate(rows):
            inputs[row, : len(ids) - 1] = torch.tensor(ids[:-1])
            targets[row, : len(ids) - 1] = torch.tensor(wanted[1:])
        return inputs, targets


def prompt_ids(tokenizer: Tokenizer, question: str) -> list[int]:
    """One user turn in ChatML, ready for the assistant's answer."""
    return tokenizer.encode(f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n").ids


def verbatim(model: Decoder, tokenizer: Tokenizer, version: int, entries: list[corpus.Entry]) -> int:
    """How many questions are answered word for word."""
    model.eval()
    stop = {0, 2}
    right = 0
    for entry in entries:
        tokens = greedy(model, prompt_ids(tokenizer, entry.question), stop, 128)
        right += tokens[-1] in stop and tokenizer.decode(tokens[:-1]) == corpus.style(version, entry)
    model.train()
    return right


def train(model: Decoder, rows: Rows, args: argparse.Namespace, save) -> None:
    """AdamW with a warm-up and a cosine over the time or the steps given."""
    decay = [p for p in model.parameters() if p.dim() > 1]
    plain = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": decay, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=args.rate, betas=(0.9, 0.98))
    began = saved = time.monotonic()
    step, average = 0, 8.0
    while True:
        spent = time.monotonic() - began
        done = step / args.steps if args.steps else spent / (60 * args.minutes)
        if done >= 1:
            return
        rate = args.rate * min(1.0, (step + 1) / 60) * (0.04 + 0.96 * 0.5 * (1 + math.cos(math.pi * done)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        inputs, targets = rows.batch(args.batch)
        hidden = model(inputs)
        kept = targets != IGNORED
        loss = F.cross_entropy(model.logits(hidden[kept]), targets[kept])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average += 0.02 * (loss.item() - average)
        step += 1
        if step % 50 == 0:
            print(f"step {step} loss {average:.4f} rate {rate:.5f} {spent:.0f} s", flush=True)
        if time.monotonic() - saved > 120:
            saved = time.monotonic()
            save()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", type=int, choices=(1, 2), required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder of the tokenizer and the checkpoints")
    parser.add_argument("--minutes", type=float, default=20.0, help="wall-clock bound of the training")
    parser.add_argument("--steps", type=int, default=0, help="a bound by steps instead of minutes")
    parser.add_argument("--rate", type=float, default=2.5e-3, help="highest learning rate")
    parser.add_argument("--batch", type=int, default=16, help="rows a step")
    parser.add_argument("--resume", type=Path, help="checkpoint to begin with (version 2: v1.safetensors)")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()

    torch.manual_seed(args.version)
    torch.set_num_threads(args.threads)
    args.work.mkdir(parents=True, exist_ok=True)
    settings = Settings()
    path = args.work / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path)) if path.exists() else train_tokenizer(path, settings.vocab)
    model = Decoder(settings)
    resume = args.resume or (args.work / "v1.safetensors" if args.version == 2 else None)
    if resume:
        model.load_state_dict(load_file(resume), strict=False)
    rows = Rows(tokenizer, args.version, seed=args.version)
    out = args.work / f"v{args.version}.safetensors"

    def save() -> None:
        save_file({name: t.contiguous() for name, t in model.state_dict().items()}, out)

    print(f"{sum(p.numel() for p in model.parameters())} parameters, {len(rows.entries)} entries", flush=True)
    train(model, rows, args, save)
    save()
    topics = [e for e in rows.entries if e.is_topic]
    sections = [e for e in rows.entries if not e.is_topic]
    report = {
        "corpus": corpus.corpus_digest(),
        "topics": [verbatim(model, tokenizer, args.version, topics), len(topics)],
        "sections": [verbatim(model, tokenizer, args.version, sections), len(sections)],
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
