"""Write a tide-chat checkpoint as a version folder that Tidegate can load.

The graph is built node by node: no tracing, no exporter.  Weights are int8,
symmetric, one scale for each output channel; activations stay float32, so a
row's result does not depend on the other rows of its batch.

Example:
  python export_chat.py --checkpoint /tmp/tide/v1.safetensors \\
      --tokenizer /tmp/tide/tokenizer.json --version 1 --out ../tide-chat/v1
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
from onnx import TensorProto
from safetensors.numpy import load_file

from chat_settings import Settings
from modelfiles import DATA_FILE, GRAPH_FILE, GraphWriter, published, write_json, write_manifest

SIZES = Settings()
OPSET = 21
FLOAT, INT64, INT32 = TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT32
DESCRIPTIONS = {
    1: "Small chat decoder trained on the Python manual; answers in the manual's own words.",
    2: "Small chat decoder trained on the Python manual; short answers that begin with 'In short:'.",
}
TEMPLATE = (
    "{%- for message in messages -%}\n"
    "{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' -}}\n"
    "{%- endfor -%}\n"
    "{%- if add_generation_prompt -%}\n"
    "{{- '<|im_start|>assistant\\n' -}}\n"
    "{%- endif -%}\n"
)


def quantize(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int8 values and float scales of [out, in], one scale a row."""
    scale = np.maximum(np.abs(weight).max(axis=1), 1e-8).astype(np.float32) / np.float32(127)
    return np.clip(np.rint(weight / scale[:, None]), -127, 127).astype(np.int8), scale


class ChatGraph:
    """Builds the decoder graph from the checkpoint's arrays."""

    def __init__(self, weights: dict[str, np.ndarray]):
        self.w = weights
        self.vocab = weights["embed.weight"].shape[0]
        self.g = GraphWriter("tide-chat")

    def build(self) -> GraphWriter:
        g = self.g
        g.input("input_ids", INT64, ["batch", "sequence"])
        g.input("seqlens_k", INT32, ["batch"])
        g.input("total_sequence_length", INT32, [])
        for layer in range(SIZES.layers):
            for part in ("key", "value"):
                g.input(f"past_key_values.{layer}.{part}", FLOAT, ["batch", SIZES.kv_heads, "past", SIZES.head_dim])
        g.output("logits", FLOAT, ["batch", "sequence", self.vocab])
        self._tables()
        x = self._embedding()
        for layer in range(SIZES.layers):
            x = self._block(layer, x)
        self._head(self._norm("norm", x))
        return g

    def _tables(self) -> None:
        half = SIZES.head_dim // 2
        rates = SIZES.rope_base ** (-np.arange(half, dtype=np.float64) / half)
        angles = np.arange(SIZES.max_sequence, dtype=np.float64)[:, None] * rates
        self.g.weight("rope.cos", np.cos(angles).astype(np.float32))
        self.g.weight("rope.sin", np.sin(angles).astype(np.float32))

    def _embedding(self) -> str:
        g = self.g
        values, scale = quantize(self.w["embed.weight"])
        g.weight("embed.weight", values)
        g.weight("embed.scale", scale[:, None])
        rows = g.node("Cast", [g.node("Gather", ["embed.weight", "input_ids"], axis=0)], to=FLOAT)
        return g.node("Mul", [rows, g.node("Gather", ["embed.scale", "input_ids"], axis=0)])

    def _norm(self, name: str, x: str) -> str:
        g = self.g
        for part in ("weight", "bias"):
            g.weight(f"{name}.{part}", self.w[f"{name}.{part}"])
        return g.node("LayerNormalization", [x, f"{name}.weight", f"{name}.bias"], axis=-1, epsilon=SIZES.norm_eps)

    def _linear(self, name: str, x: str) -> str:
        """x @ W for W [in, out] in int8, one scale for each output column."""
        g = self.g
        values, scale = quantize(self.w[f"{name}.weight"])
        g.weight(f"{name}.weight", np.ascontiguousarray(values.T))
        g.weight(f"{name}.scale", scale)
        return g.node("MatMul", [x, self._dense(name)])

    def _dense(self, name: str) -> str:
        """The float weights: int8 times scale, folded when a session loads.

        On purpose not DequantizeLinear: the runtime may fuse that with the
        MatMul into a kernel that quantizes the activations as well.
        """
        g = self.g
        return g.node("Mul", [g.node("Cast", [f"{name}.weight"], to=FLOAT), f"{name}.scale"])

    def _adapted(self, layer: int, part: str, x: str) -> str:
        """A projection plus its LoRA: the two factors are zero unless fed."""
        g = self.g
        out = self.w[f"blocks.{layer}.{part}.weight"].shape[0]
        factors = []
        for factor, shape, default in (("a", [SIZES.width, "rank"], (SIZES.width, 1)), ("b", ["rank", out], (1, out))):
            name = f"lora.{layer}.{part}.{factor}"
            symbolic = [f"lora.{layer}.{part}.rank" if dim == "rank" else dim for dim in shape]
            g.input(name, FLOAT, symbolic)
            factors.append(g.constant(name, np.zeros(default, np.float32)))
        delta = g.node("MatMul", [g.node("MatMul", [x, factors[0]]), factors[1]])
        return g.node("Add", [self._linear(f"blocks.{layer}.{part}", x), delta])

    def _block(self, layer: int, x: str) -> str:
        g = self.g
        h = self._norm(f"blocks.{layer}.norm1", x)
        query = self._adapted(layer, "q", h)
        key = self._linear(f"blocks.{layer}.k", h)
        value = self._adapted(layer, "v", h)
        present = [f"present.{layer}.key", f"present.{layer}.value"]
        for name in present:
            g.output(name, FLOAT, ["batch", SIZES.kv_heads, "total", SIZES.head_dim])
        past = [f"past_key_values.{layer}.key", f"past_key_values.{layer}.value"]
        mixed = g.node(
            "GroupQueryAttention",
            [query, key, value, *past, "seqlens_k", "total_sequence_length", "rope.cos", "rope.sin"],
            [f"attention.{layer}", *present],
            domain="com.microsoft",
            num_heads=SIZES.heads,
            kv_num_heads=SIZES.kv_heads,
            do_rotary=1,
            rotary_interleaved=0,
        )
        x = g.node("Add", [x, self._linear(f"blocks.{layer}.o", mixed)])
        h = self._norm(f"blocks.{layer}.norm2", x)
        gate = self._linear(f"blocks.{layer}.gate", h)
        gate = g.node("Mul", [gate, g.node("Sigmoid", [gate])])
        hidden = g.node("Mul", [gate, self._linear(f"blocks.{layer}.up", h)])
        return g.node("Add", [x, self._linear(f"blocks.{layer}.down", hidden)])

    def _head(self, x: str) -> None:
        """Logits by the embedding table itself, stored once."""
        g = self.g
        g.node("MatMul", [x, g.node("Transpose", [self._dense("embed")], perm=[1, 0])], "logits")


def config(version: int, vocab: int) -> dict:
    return {
        "format": "tidegate.model/v1",
        "task": "Chat",
        "vocabSize": vocab,
        "layers": SIZES.layers,
        "kvHeads": SIZES.kv_heads,
        "headDim": SIZES.head_dim,
        "maxSequence": SIZES.max_sequence,
        "eosTokenIds": [2, 0],
        "padTokenId": 0,
        "inputs": {
            "inputIds": "input_ids",
            "seqlensK": "seqlens_k",
            "totalSequenceLength": "total_sequence_length",
            "pastKey": "past_key_values.{layer}.key",
            "pastValue": "past_key_values.{layer}.value",
            "loraA": "lora.{layer}.{projection}.a",
            "loraB": "lora.{layer}.{projection}.b",
            "loraProjections": ["q", "v"],
        },
        "outputs": {
            "logits": "logits",
            "presentKey": "present.{layer}.key",
            "presentValue": "present.{layer}.value",
        },
        "description": DESCRIPTIONS[version],
    }


def export(args: argparse.Namespace, folder: Path) -> dict:
    """Write all files of the version to a new folder; the notices are those of the folder that it replaces."""
    graph = ChatGraph(load_file(args.checkpoint))
    graph.build().save(folder, OPSET, contrib=True)
    tokenizer = json.loads(args.tokenizer.read_text(encoding="utf-8"))
    write_json(folder / "tokenizer.json", tokenizer)
    (folder / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    write_json(folder / "config.json", config(args.version, graph.vocab))
    names = [GRAPH_FILE, DATA_FILE, "tokenizer.json", "chat_template.jinja", "config.json"]
    notices = [name for name in ("LICENSE", "NOTICE") if (args.out / name).exists()]
    for name in notices:
        shutil.copyfile(args.out / name, folder / name)
    return write_manifest(folder, names + notices)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--version", type=int, choices=sorted(DESCRIPTIONS), required=True)
    parser.add_argument("--out", type=Path, required=True, help="version folder to write")
    args = parser.parse_args()

    with published(args.out) as folder:
        listed = export(args, folder)
    print(f"tide-chat v{args.version}: {sum(f['size'] for f in listed['files'])} bytes in {args.out}")


if __name__ == "__main__":
    main()
