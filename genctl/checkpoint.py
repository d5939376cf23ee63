"""What a checkpoint holds: a model file out of a model, and a model out of a model file. Safetensors only, verified before use.

How files get onto the disk and are found again: genctl/durable.py.
"""

import hashlib
import json
import math
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

import genctl
from genctl import catalog, header, recipe
from genctl.contract import Memory, Model, Spec
from genctl.durable import Pieces
from genctl.errors import GenctlError, safe_text
from genctl.header import FORMAT, Header, bad
from genctl.recipe import Recipe

_DTYPE = {
    str(getattr(torch, n)): s
    for n, s in {
        "float64": "F64",
        "float32": "F32",
        "float16": "F16",
        "bfloat16": "BF16",
        "int64": "I64",
        "int32": "I32",
        "int16": "I16",
        "int8": "I8",
        "uint8": "U8",
        "bool": "BOOL",
    }.items()
}


# --- what is too long for a description -------------------------------------------------------------------------------------

LONG, CODEC = ("tokenizer", "items"), "codec/"  # JSON as long as these travels as a tensor of bytes, named by its content


def fold(plain: Any) -> tuple[Any, dict[str, Tensor]]:
    """A plain tree with the name of a tensor in place of each tokeniser, and those tensors."""
    bulk: dict[str, Tensor] = {}

    def walk(key: str, value: Any) -> Any:
        if isinstance(value, dict):
            return {k: walk(k, v) for k, v in value.items()}
        if isinstance(value, list):
            return [walk("", v) for v in value]
        if key not in LONG or not isinstance(value, str) or not value.startswith("{"):
            return value
        data = value.encode()
        name = CODEC + hashlib.sha256(data).hexdigest()[:16]
        bulk[name] = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        return name

    return walk("", plain), bulk


def unfold(plain: Any, bulk: Mapping[str, Tensor]) -> Any:
    """The inverse of `fold`. Raises KeyError, or ValueError for bytes that are not text."""
    if isinstance(plain, dict):
        return {k: unfold(_text(bulk[v]) if k in LONG and _folded(v) else v, bulk) for k, v in plain.items()}
    return [unfold(v, bulk) for v in plain] if isinstance(plain, list) else plain


def _folded(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(CODEC)


def _text(t: Tensor) -> str:
    if t.dtype is not torch.uint8 or t.ndim != 1:
        raise ValueError("a tokeniser is a row of bytes")
    return t.numpy().tobytes().decode()


def look(path: Path) -> Header:
    """The header of a model file with its tokenisers, without its weights. Nothing is verified but the form."""
    head = header.read(path)
    names = [k for k in head.tensors if k.startswith(CODEC)]
    if not names:
        return head
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return replace(head, meta=unfold(head.meta, {k: file.get_tensor(k) for k in names}))
    except Exception as e:
        raise bad("ckpt-content", path, f"its tokeniser cannot be read: {safe_text(e)}") from None


# --- one file ----------------------------------------------------------------------------------------------------------------


def dtype_of(t: Tensor) -> str:
    """torch.float32 as safetensors writes it: F32."""
    return _DTYPE[str(t.dtype)]


def _bytes(t: Tensor) -> memoryview:
    flat = t.detach().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data if flat.numel() else memoryview(b"")


def pieces(tensors: Mapping[str, Tensor], meta: Mapping[str, Any], seal: bool = True) -> Pieces:
    """A safetensors file as what is to be written one after another: the header, then every tensor's own memory, uncopied.

    `seal` puts a sha256 over the description and all tensors into it, so that the file verifies alone.
    """
    meta, bulk = fold(meta)
    cpu = {k: v.detach().to("cpu").contiguous() for k, v in {**tensors, **bulk}.items()}
    text = json.dumps(meta, ensure_ascii=False, separators=(",", ":"))
    if len(text) > header.MAX_META:
        raise GenctlError("limit", f"the checkpoint's description would be {len(text) // 1024} KB, limit {header.MAX_META // 1024} KB")
    if seal:
        text = header.seal(text, header.digest(text, ((k, dtype_of(v), tuple(v.shape), _bytes(v)) for k, v in cpu.items())))
    tree: dict[str, Any] = {"__metadata__": {"genctl": text}}
    order = sorted(cpu, key=lambda k: (-cpu[k].element_size(), k))  # wide types first: every tensor is aligned
    end = 0
    for k in order:
        begin, end = end, end + cpu[k].numel() * cpu[k].element_size()
        tree[k] = {"dtype": dtype_of(cpu[k]), "shape": list(cpu[k].shape), "data_offsets": [begin, end]}
    raw = json.dumps(tree, ensure_ascii=False, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    return [len(raw).to_bytes(8, "little") + raw, *(_bytes(cpu[k]) for k in order)]


def pack(tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> bytes:
    """The same as bytes."""
    return b"".join(pieces(tensors, meta))


def unpack(path: Path, sha256: str | None = None) -> tuple[Header, dict[str, Tensor]]:
    """A file's checked header and tensors, read once into memory, so that what was verified is what is used.

    `sha256`: of the whole file, as a manifest states it. Files that are not sealed (resume.safetensors) rest on it.
    Raises GenctlError: no-input, permission, ckpt-truncated, ckpt-header, ckpt-format, ckpt-meta, ckpt-checksum, ckpt-content.
    """
    head = header.read(path)  # refuses hostile headers before the file is read whole
    fd = header.open_regular(path)
    with os.fdopen(fd, "rb") as f:
        data = f.read(head.size + 1)
    if len(data) != head.size:
        raise bad("ckpt-changed", path, "the file changed while it was read")
    again = header.from_bytes(path, data)
    try:
        tensors = safetensors.torch.load(data)
    except Exception as e:  # whatever the library says of a damaged file is the file's fault
        raise bad("ckpt-content", path, safe_text(e)) from None
    sealed = again.digest or "recipe" in again.meta
    parts = ((k, dtype_of(v), tuple(v.shape), _bytes(v)) for k, v in tensors.items())
    if (sha256 and hashlib.sha256(data).hexdigest() != sha256) or (
        sealed and not sha256 and again.digest != header.digest(again.text, parts)
    ):
        raise bad("ckpt-checksum", path, "checksum mismatch: the file is damaged or was edited", "use another checkpoint of the run")
    bulk = {k: tensors.pop(k) for k in list(tensors) if k.startswith(CODEC)}
    try:
        return replace(again, meta=unfold(again.meta, bulk)), tensors
    except (KeyError, ValueError) as e:
        raise bad("ckpt-content", path, f"its tokeniser cannot be read: {safe_text(e)}") from None


# --- a model and its file ----------------------------------------------------------------------------------------------------


def memory_keys(model: nn.Module) -> list[str]:
    """The names of the buffers that live in Memories, in the order of the model: ranks gather them one after another."""
    return [f"{n}.{b}" if n else b for n, m in model.named_modules() if isinstance(m, Memory) for b, _ in m.named_buffers()]


def weights(model: nn.Module) -> dict[str, Tensor]:
    """The tensors that sampling needs, by name."""
    skip = memory_keys(model)
    return {k: v for k, v in model.state_dict().items() if k not in skip}


def describe(recipe: Recipe, spec: Spec, step: int, metrics: Mapping[str, float] | None = None) -> dict[str, Any]:
    """What a checkpoint file says of itself."""
    versions = {"genctl": genctl.__version__, "torch": torch.__version__.split("+")[0], "python": sys.version.split()[0]}
    return {
        "format": FORMAT,
        "family": recipe.family,
        "step": step,
        "recipe": recipe.plain(),
        "spec": spec.to_json(),
        "metrics": {k: v for k, v in (metrics or {}).items() if math.isfinite(v)},
        "versions": versions,
    }


def understand(head: Header) -> tuple[Recipe, Spec]:
    """The recipe and spec in a checkpoint's header. Raises GenctlError (ckpt-meta)."""
    try:
        plan, spec = recipe.from_plain(head.meta["recipe"]), Spec.from_json(head.meta["spec"])
        media = catalog.entries("media")
        for part in (spec, *spec.given.values()):
            if part.media not in media:
                raise ValueError(f"there is no medium '{part.media}'")
            for key in ("names", "symbols", "specials", "columns"):
                words = part.codec.get(key, [])
                if not isinstance(words, list) or not all(isinstance(w, str) for w in words):
                    raise ValueError(f"the codec's {key} are not a list of texts")
            if not all(isinstance(part.codec.get(key, ""), str) for key in LONG):
                raise ValueError("the codec's tokeniser, or what its items are, is not text")
            if "symbols" in part.codec and len(part.codec["symbols"]) != part.vocab:
                raise ValueError("the codec's symbols are not as many as the vocabulary")
    except GenctlError as e:
        raise bad("ckpt-meta", head.path, f"its recipe is not valid: {safe_text(e.lines[0])}") from None
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as e:
        raise bad("ckpt-meta", head.path, f"its description is not valid: {safe_text(e)}") from None
    if plan.family != head.meta.get("family"):
        raise bad("ckpt-meta", head.path, "its family and its recipe disagree")
    return plan, spec


def build(plan: Recipe, spec: Spec) -> Model:
    """The model of a recipe on the CPU, counted on the meta device first. Raises GenctlError (limit, config)."""
    cls = catalog.family(plan.family)
    with torch.device("meta"):
        count = sum(p.numel() for p in cls(plan.model, spec).parameters())
    if count > plan.limits.parameters:
        raise GenctlError(
            "limit",
            f"the model would have {count:,} parameters, limit {plan.limits.parameters:,}",
            "raise limits.parameters, or make the model smaller",
        )
    model: Model = cls(plan.model, spec)
    return model


def load(path: Path) -> tuple[Model, Recipe, Spec, Header]:
    """A trained model, in eval mode on the CPU, from one model file. Nothing is allocated before the header is believed."""
    head = header.read(path)
    plan, spec = understand(head)
    cls = catalog.family(plan.family)
    try:
        with torch.device("meta"):
            shell = cls(plan.model, spec)
    except Exception as e:  # whatever a family says of a hostile description is the file's fault
        raise bad("ckpt-meta", path, f"its recipe and spec do not make a model: {safe_text(e)}") from None
    found = {k: v for k, v in head.tensors.items() if not k.startswith(CODEC)}
    match(path, found, {k: (dtype_of(v), tuple(v.shape)) for k, v in weights(shell).items()})
    head, tensors = unpack(path)
    plan, spec = understand(head)
    for name, value in tensors.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise bad(
                "ckpt-content",
                path,
                f"tensor '{safe_text(name, 60)}' holds values that are not finite",
                "use an earlier checkpoint of the run",
            )
    model = build(plan, spec)
    model.load_state_dict(tensors, strict=False)  # only Memories are absent: `match` compared the rest
    return model.eval().requires_grad_(False), plan, spec, head


def match(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any], of: str = "recipe") -> None:
    """Two inventories of tensors must be equal. Raises GenctlError (ckpt-content) naming the first differences."""
    kinds = {
        "missing": [k for k in wanted if k not in found],
        "unexpected": [k for k in found if k not in wanted],
        "other shape": [k for k in wanted if k in found and found[k] != wanted[k]],
    }
    said = [
        f"{kind}: {', '.join(safe_text(k, 40) for k in names[:3])}" + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        for kind, names in kinds.items()
        if names
    ]
    if said:
        raise bad("ckpt-content", path, f"its tensors are not those of its {of}; " + "; ".join(said))
