"""Folders of Hugging Face, written: what `from_pretrained` reads, of models that one of its layouts can hold."""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from genctl.contract import Spec
from genctl.errors import GenctlError
from genctl.recipe import Recipe
from genctl.tasks import layouts
from genctl.tasks.huggingface import CONFIG, TOKENIZER, WHOLE, numbers_of, shapes
from genctl.tasks.layouts import Layout, Unlike

TOLD = "tokenizer_config.json"
END = "<|end|>"


def layout_of(plan: Recipe, spec: Spec) -> tuple[Layout, dict[str, Any]]:
    """The layout that can hold a model, and its config.json. Raises GenctlError (power, config) with what stands against it."""
    reasons: dict[str, list[str]] = {}
    for name, layout in layouts.known().items():
        if plan.family == layout.FAMILY:
            try:
                return layout, layout.write(plan.model, spec)
            except Unlike as e:
                reasons[name] = e.lines
    if not reasons:
        raise GenctlError("power", f"Hugging Face has no layout for family '{plan.family}' that genctl writes")
    raise GenctlError(
        "config",
        [f"not expressible as {name}: {'; '.join(lines)}" for name, lines in reasons.items()],
        "train with such settings: genctl inspect gpt-tiny-shakespeare-llama shows some",
    )


def renamed(layout: Layout, plan: Recipe, spec: Spec, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our tensors under their names. What the layout has and the model lacks (biases) is zero."""
    full = dataclasses.replace(plan, model=plan.model.model_copy(update=layout.HAS))
    sizes = shapes(Path(CONFIG), full, spec)
    out: dict[str, Tensor] = {}
    for name, place in layout.names(full.model).items():
        out |= place.theirs(tensors[name] if name in tensors else torch.zeros(sizes[name]))
    return out


def write(plan: Recipe, spec: Spec, tensors: Mapping[str, Tensor], folder: Path) -> list[Path]:
    """Writes a folder that `from_pretrained` reads, into an empty one. Raises GenctlError (power, config) before anything is written."""
    layout, told = layout_of(plan, spec)
    save(renamed(layout, plan, spec, tensors), folder / WHOLE)
    paths = [folder / WHOLE]
    for name, tree in {CONFIG: {**told, "dtype": "float32"}, **_tokenizers(layout, plan, spec)}.items():
        (folder / name).write_text(
            tree if isinstance(tree, str) else json.dumps(tree, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        paths.append(folder / name)
    return paths


def save(tensors: dict[str, Tensor], path: Path) -> None:
    """A safetensors file as Hugging Face writes them; the library's own is for its owner's eyes alone."""
    safetensors.torch.save_file(tensors, path, metadata={"format": "pt"})
    umask = os.umask(0)
    os.umask(umask)
    path.chmod(0o666 & ~umask)


def _tokenizers(layout: Layout, plan: Recipe, spec: Spec) -> dict[str, Any]:
    """tokenizer.json and tokenizer_config.json by name: the model's own, or one of its characters; nothing where there is neither."""
    told = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": spec.size}
    if "tokenizer" in spec.codec:
        text = str(spec.codec["tokenizer"])
        piece = {i: p for p, i in numbers_of(Path(TOKENIZER), json.loads(text)).items()}
        return {TOKENIZER: text, TOLD: told | {k: piece[i] for k, i in layout.special(plan.model, spec).items() if i in piece}}
    known = [END if i == spec.end and not s else s for i, s in enumerate(spec.codec.get("symbols", []))]
    if known and all(len(s) == 1 or s == END for s in known):  # none is special: a newline before a text is still a newline within it
        return {TOKENIZER: _characters(known, *layout.frame(plan.model, spec)), TOLD: told}
    return {}


def _characters(known: list[str], before: int | None, behind: int | None) -> dict[str, Any]:
    """The tokenizer.json of a vocabulary of characters, with the symbols that stand before and behind a text."""
    around = {known[i]: {"id": known[i], "ids": [i], "tokens": [known[i]]} for i in (before, behind) if i is not None}
    first, last = ([] if i is None else [{"SpecialToken": {"id": known[i], "type_id": 0}}] for i in (before, behind))
    single = [*first, {"Sequence": {"id": "A", "type_id": 0}}, *last]
    template = {"type": "TemplateProcessing", "single": single, "pair": [*single, {"Sequence": {"id": "B", "type_id": 1}}]}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "[\\s\\S]"}, "behavior": "Isolated", "invert": False},
        "post_processor": {**template, "special_tokens": around} if around else None,
        "decoder": {"type": "Fuse"},
        "model": {"type": "WordLevel", "vocab": {s: i for i, s in enumerate(known)}, "unk_token": known[before or 0]},
    }
