"""Folders of Hugging Face: config.json, weights as safetensors (one file, or shards under an index), tokenizer.json: how they are read.

Nothing in such a folder is believed: names of shards stay inside it, every tensor must have the shape that the config asks for, and
pickles are refused unread. Format: https://huggingface.co/docs/transformers/main_classes/model, https://huggingface.co/docs/tokenizers.
"""

import contextlib
import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from genctl import catalog, checkpoint, config, header, recipe
from genctl.config import Tree
from genctl.contract import Spec
from genctl.data import told
from genctl.errors import GenctlError, safe_text
from genctl.header import bad
from genctl.recipe import Recipe
from genctl.tasks import layouts
from genctl.tasks.layouts import Layout, Shape, Unlike

CONFIG, TOKENIZER, WHOLE, INDEX = "config.json", "tokenizer.json", "model.safetensors", "model.safetensors.index.json"
FLOATS = ("F64", "F32", "F16", "BF16")
MAX_JSON, MAX_TOKENIZER, MAX_SHARDS = 8 * 2**20, 64 * 2**20, 4096
CONTEXT = 4096  # the longest context that is taken over unasked: what is kept of every symbol while drawing fills memory
PICKLES = re.compile(r"(pytorch_model.*|.*\.(pt|pth|ckpt|pkl|pickle))(\.index\.json)?|.*\.bin")


@dataclass(frozen=True)
class Found:
    """A model of another house, in the terms of this one."""

    layout: Layout
    recipe: Recipe
    spec: Spec
    tensors: dict[str, Tensor]
    notes: list[str] = field(default_factory=list)


def is_folder(path: Path) -> bool:
    """Whether `path` is such a folder."""
    return (path / CONFIG).is_file()


def read(folder: Path, context: int = 0, vocab: int = 0) -> Found:
    """A folder's model as a checkpoint's contents, in float32.

    context   symbols it reads at most; 0: its own number, up to 4,096
    vocab     the symbols that are known to a text: where the tokeniser has as many and the model more, those rows alone are taken

    Raises GenctlError: no-input, permission, usage, ckpt-format, -header, -truncated, -meta, -content.
    """
    layout, plan, whole, spec, notes = _described(folder, context, vocab)
    return Found(layout, plan, spec, tensors(folder, layout, plan, whole, spec, _stored(folder)), notes)


def spec_of(folder: Path) -> Spec:
    """What a folder's model reads and writes; its weights stay unread. Raises GenctlError as `read` does."""
    return _described(folder, 0, 0)[3]


def _described(folder: Path, context: int, vocab: int) -> tuple[Layout, Recipe, Spec, Spec, list[str]]:
    """What config.json and tokenizer.json say: layout, recipe, the Spec of the whole and of what is taken of it, and what is to be told."""
    _, tree = read_object(folder / CONFIG)
    layout, notes = _layout(folder, tree), []
    text, numbers = "", {}
    if (folder / TOKENIZER).is_file():
        text, tokenizer = read_object(folder / TOKENIZER, MAX_TOKENIZER)
        numbers = numbers_of(folder / TOKENIZER, tokenizer)
    else:
        notes.append("warning[tokenizer]: no tokenizer.json: prompts and samples are numbers of symbols")
    plan, whole = _understood(folder, layout, layouts.Config(tree, numbers), context)
    count = max(numbers.values(), default=-1) + 1
    if count > whole.vocab:
        what = f"it has a symbol {count - 1}, the model has {whole.vocab}"
        raise bad("ckpt-meta", folder / TOKENIZER, what, "the tokenizer of this very model")
    new: dict[str, Any] = {"shape": (context or min(whole.size, CONTEXT),), "codec": {"tokenizer": text.strip()} if text else {}}
    if text and vocab == count:
        new["vocab"] = count
    beside = {k: dataclasses.replace(v, **new) for k, v in whole.given.items()}
    spec = dataclasses.replace(whole, **new, given=beside)
    if spec.size < whole.size:
        notes.append(f"the context is {spec.size} symbols of {whole.size}")
    return layout, dataclasses.replace(plan, data=told(plan.data, spec)), whole, spec, notes


def read_object(path: Path, most: int = MAX_JSON) -> tuple[str, dict[str, Any]]:
    """The text of a file and the JSON object that it is. Raises GenctlError (no-input, permission, ckpt-meta)."""
    with open(header.open_regular(path), "rb") as f:
        raw = f.read(most + 1)
    if len(raw) > most:
        raise bad("ckpt-meta", path, f"larger than {most // 2**20} MB")
    try:
        text = raw.decode("utf-8-sig")
        tree = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise bad("ckpt-meta", path, f"not JSON: {safe_text(e, 80)}") from None
    if not isinstance(tree, dict):
        raise bad("ckpt-meta", path, "not a JSON object")
    return text, tree


def _layout(folder: Path, tree: Mapping[str, Any]) -> Layout:
    known, kind = layouts.known(), tree.get("model_type")
    if not isinstance(kind, str) or kind not in known:
        said = f"model_type {safe_text(repr(kind), 40)} is not one that genctl reads: {', '.join(known)}"
        raise bad("ckpt-format", folder / CONFIG, said)
    return known[kind]


def _understood(folder: Path, layout: Layout, asked: layouts.Config, context: int) -> tuple[Recipe, Spec]:
    """The recipe, for a context, and the Spec that a config.json means."""
    try:
        settings, spec = layout.read(asked)
        if context > spec.size:
            raise GenctlError("usage", f"a context of {context}: this model reads {spec.size} symbols at most")
        length = context or min(spec.size, CONTEXT)
        plain = {"family": layout.FAMILY, "data": {"name": layout.DATA, "length": max(2, length)}, "model": settings}
        return recipe.resolve(Tree(plain | _drawing(layout, length))), spec
    except Unlike as e:
        raise GenctlError("ckpt-meta", [f"{safe_text(folder.name)}/{CONFIG}: {line}" for line in e.lines]) from None
    except GenctlError as e:
        if e.id != "config":
            raise
        raise GenctlError(
            "ckpt-meta", [f"{safe_text(folder.name)}/{CONFIG} as genctl understands it: {line}" for line in e.lines]
        ) from None


def _drawing(layout: Layout, length: int) -> dict[str, Any]:
    """The `sample:` section: such models are large, and few rows at a time are quicker than many."""
    keys = getattr(catalog.family(layout.FAMILY), "Draw", config.Settings).model_fields
    return {"sample": {k: v for k, v in {"chunk": 1, "length": min(length, 256)}.items() if k in keys}}


def numbers_of(path: Path, tree: Mapping[str, Any]) -> dict[str, int]:
    """The symbols of a tokenizer.json by name. Raises GenctlError (ckpt-meta)."""
    try:
        table = tree["model"]["vocab"]
        found = dict(table) if isinstance(table, dict) else {piece: i for i, (piece, _) in enumerate(table)}
        found |= {token["content"]: token["id"] for token in tree.get("added_tokens") or []}
        if not all(type(i) is int and i >= 0 for i in found.values()):
            raise ValueError("a symbol is not a number")
    except (KeyError, TypeError, ValueError) as e:
        raise bad("ckpt-meta", path, f"not a tokenizer with a vocabulary: {safe_text(e, 80)}") from None
    return found


@dataclass(frozen=True)
class Stored:
    """Where a tensor is, under which name, and what the header of that file says of it."""

    path: Path
    name: str
    dtype: str
    shape: Shape


def _stored(folder: Path) -> dict[str, Stored]:
    """What the folder's files hold, by name; the headers alone are read. Raises GenctlError."""
    if not (folder / INDEX).is_file():
        if not (folder / WHOLE).is_file():
            raise _without_weights(folder)
        return {k: Stored(folder / WHOLE, k, *told) for k, told in header.read(folder / WHOLE, own=False).tensors.items()}
    table = read_object(folder / INDEX)[1].get("weight_map")
    if not isinstance(table, dict) or not all(isinstance(v, str) for v in table.values()):
        raise bad("ckpt-meta", folder / INDEX, "its weight_map does not name a file for each tensor")
    shards = dict.fromkeys(table.values())
    if len(shards) > MAX_SHARDS:
        raise bad("ckpt-meta", folder / INDEX, f"{len(shards)} shards, limit {MAX_SHARDS}")
    inside: dict[str, dict[str, Any]] = {}
    for name in shards:
        if not re.fullmatch(r"[\w][\w.+-]*\.safetensors", name):
            raise bad("ckpt-meta", folder / INDEX, f"'{safe_text(name, 80)}' is not the name of a safetensors file in this folder")
        inside[name] = header.read(folder / name, own=False).tensors
    for tensor, name in table.items():
        if tensor not in inside[name]:
            raise bad("ckpt-content", folder / INDEX, f"tensor '{safe_text(tensor, 60)}' is not in {safe_text(name, 80)}")
    return {tensor: Stored(folder / name, tensor, *inside[name][tensor]) for tensor, name in table.items()}


def _without_weights(folder: Path) -> GenctlError:
    pickles = sorted(p.name for p in folder.iterdir() if PICKLES.fullmatch(p.name))
    if not pickles:
        return GenctlError("no-input", f"{safe_text(folder)} has neither {WHOLE} nor {INDEX}")
    what = f"the weights are a pickle ({safe_text(pickles[0], 60)}), which can run code when it is read; genctl reads only safetensors"
    try_ = "where you trust it, convert it: AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(NEW)"
    return bad("ckpt-format", folder, what, try_)


def tensors(folder: Path, layout: Layout, plan: Recipe, whole: Spec, spec: Spec, stored: Mapping[str, Stored]) -> dict[str, Tensor]:
    """Our tensors out of theirs, whose shapes are compared first; of a table of positions or symbols the first rows, if `spec` has fewer.

    Raises GenctlError (ckpt-meta, ckpt-content).
    """
    places = layout.names(plan.model)
    theirs, ours = (shapes(folder / CONFIG, plan, s) for s in (whole, spec))
    expected = {n: s for k, place in places.items() for n, s in place.shapes(theirs[k]).items()}
    found = {k: v for k, v in _named(layout, stored).items() if k in expected or not k.endswith(layout.STRAY)}
    checkpoint.match(folder, {k: v.shape for k, v in found.items()}, expected, CONFIG)
    for name, one in found.items():
        if one.dtype not in FLOATS:
            what = f"tensor '{safe_text(name, 60)}' holds {one.dtype}: genctl reads floating point weights alone"
            raise bad("ckpt-content", folder, what)
    out = {k: torch.zeros(shape) for k, shape in ours.items() if k not in places}  # what their layout has no place for
    try:
        with contextlib.ExitStack() as stack:
            opened = {path: stack.enter_context(safe_open(path, "pt")) for path in {v.path for v in found.values()}}

            def fetch(name: str) -> Tensor:
                value: Tensor = opened[found[name].path].get_tensor(found[name].name)
                return value.float()

            return out | {k: _finite(folder, k, place.ours(fetch)[: ours[k][0]].contiguous()) for k, place in places.items()}
    except SafetensorError as e:
        raise bad("ckpt-content", folder, safe_text(e)) from None


def _named(layout: Layout, stored: Mapping[str, Stored]) -> dict[str, Stored]:
    """Tensors by their full names of today: a bare network leaves a prefix out, and old files call the parts of a norm gamma and beta."""
    bare = not any(name.startswith(layout.PREFIX) for name in stored)
    parts = {"gamma": "weight", "beta": "bias"}
    out = {}
    for name, one in stored.items():
        stem, dot, part = name.rpartition(".")
        out[(layout.PREFIX if bare else "") + stem + dot + parts.get(part, part)] = one
    return out


def shapes(path: Path, plan: Recipe, spec: Spec) -> dict[str, Shape]:
    """The shapes of a recipe's tensors; nothing is allocated. Raises GenctlError (ckpt-meta)."""
    try:
        with torch.device("meta"):
            shell = catalog.family(plan.family)(plan.model, spec)
    except Exception as e:  # whatever a family says of a hostile description is the file's fault
        raise bad("ckpt-meta", path, f"it does not describe a model: {safe_text(e)}") from None
    return {k: tuple(v.shape) for k, v in checkpoint.weights(shell).items()}


def _finite(folder: Path, name: str, value: Tensor) -> Tensor:
    if not torch.isfinite(value).all():
        raise bad("ckpt-content", folder, f"tensor '{safe_text(name, 60)}' holds values that are not finite")
    return value
