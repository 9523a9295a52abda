"""What the export scripts share: weight files, graphs on disk, manifests.

Weights go to `model.onnx.data`, each tensor at a multiple of 4096 bytes, in
the order they were added, so that a reader may map the file and lend each
tensor to the runtime in place.  The same weights give the same bytes.

A worker may have a published folder mapped, so none of its files is ever
written again: `published` makes a new folder and renames it into place.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ALIGNMENT = 4096
GRAPH_FILE = "model.onnx"
DATA_FILE = "model.onnx.data"


class GraphWriter:
    """Collects the nodes, weights and interface of one ONNX graph."""

    def __init__(self, name: str):
        self.name = name
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.data = bytearray()
        self._count = 0

    def input(self, name: str, kind: int, shape: list[int | str]) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def output(self, name: str, kind: int, shape: list[int | str]) -> str:
        self.outputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def weight(self, name: str, value: np.ndarray) -> str:
        """A tensor in the external data file."""
        value = np.ascontiguousarray(value)
        self.data.extend(bytes(-len(self.data) % ALIGNMENT))
        tensor = TensorProto(name=name, data_type=helper.np_dtype_to_tensor_dtype(value.dtype), dims=value.shape)
        tensor.data_location = TensorProto.EXTERNAL
        raw = value.tobytes()
        for key, entry in (("location", DATA_FILE), ("offset", len(self.data)), ("length", len(raw))):
            tensor.external_data.add(key=key, value=str(entry))
        self.data.extend(raw)
        self.initializers.append(tensor)
        return name

    def constant(self, name: str, value: np.ndarray) -> str:
        """A small tensor inside the graph file."""
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, op: str, inputs: list[str], outputs: str | list[str] | None = None, domain: str = "", **attributes):
        """Add a node; returns the name of its first output."""
        self._count += 1
        if outputs is None:
            outputs = f"{op.lower()}_{self._count}"
        names = [outputs] if isinstance(outputs, str) else outputs
        self.nodes.append(helper.make_node(op, inputs, names, name=f"n{self._count}.{op}", domain=domain, **attributes))
        return names[0]

    def save(self, folder: Path, opset: int, contrib: bool, ir_version: int = 10) -> None:
        """Write the graph and its data file, both new, and check the graph's structure."""
        graph = helper.make_graph(self.nodes, self.name, self.inputs, self.outputs, self.initializers)
        imports = [helper.make_opsetid("", opset)]
        if contrib:
            imports.append(helper.make_opsetid("com.microsoft", 1))
        model = helper.make_model(graph, opset_imports=imports, ir_version=ir_version, producer_name="tidegate")
        write_new(folder / DATA_FILE, self.data)
        write_new(folder / GRAPH_FILE, model.SerializeToString(deterministic=True))
        onnx.checker.check_model(str(folder / GRAPH_FILE))


@contextmanager
def published(out: Path) -> Iterator[Path]:
    """A new folder beside `out`, which takes its place when all is written.

    What was at `out` is moved aside and then deleted; whoever has its files
    open or mapped keeps them as they were.  After a failure `out` is as before.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        folder, old = work / "new", work / "old"
        folder.mkdir(mode=0o755)
        yield folder
        if out.exists():
            out.rename(old)
        try:
            folder.rename(out)
        except OSError:
            if old.exists():
                old.rename(out)
            raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def write_new(path: Path, data: bytes | bytearray) -> None:
    """Fails when the file is there already."""
    with path.open("xb") as file:
        file.write(data)


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_reference(path: Path, header: dict, key: str, items: list[dict]) -> None:
    """JSON with one item a line: readable differences, few lines."""
    head = [f"  {json.dumps(name)}: {json.dumps(value, ensure_ascii=False)},\n" for name, value in header.items()]
    body = ",\n".join("    " + json.dumps(item, ensure_ascii=False) for item in items)
    text = "{\n" + "".join(head) + f"  {json.dumps(key)}: [\n{body}\n  ]\n}}\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def manifest(folder: Path, names: list[str]) -> dict:
    """The manifest of the named files, sorted by path."""
    files = [
        {"path": name, "sha256": sha256(folder / name), "size": (folder / name).stat().st_size}
        for name in sorted(names)
    ]
    return {"format": "tidegate.manifest/v1", "files": files}


def write_manifest(folder: Path, names: list[str]) -> dict:
    value = manifest(folder, names)
    write_json(folder / "manifest.json", value)
    return value


def manifest_holds(folder: Path, expected: dict | None = None) -> bool:
    """Whether each file that the manifest lists is there with its digest."""
    try:
        listed = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        actual = manifest(folder, [entry["path"] for entry in listed["files"]])
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return actual == listed and (expected is None or expected == listed)
