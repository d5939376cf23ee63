"""Adapters in the file format of PEFT: adapter_config.json and adapter_model.safetensors, written from a run with train.lora, and merged.

https://huggingface.co/docs/peft/developer_guides/checkpoint. Where the model has a layout of Hugging Face, layers bear the names they have
there, so that an adapter fits what `export --to hf` writes of its base; anywhere else they bear genctl's own.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from genctl import checkpoint, durable, header
from genctl.contract import Spec
from genctl.errors import GenctlError, safe_text
from genctl.header import bad
from genctl.recipe import LoRA, Recipe
from genctl.tasks import huggingface, huggingface_out, layouts
from genctl.tasks.layouts import Place, Unlike
from genctl.training.lora import FACTORS

TOLD, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
ROOT = "base_model.model."
TASKS = {"gpt": "CAUSAL_LM", "seq2seq": "SEQ_2_SEQ_LM"}


def places(plan: Recipe, spec: Spec, tensors: Mapping[str, Any]) -> tuple[dict[str, Place], bool]:
    """Where each tensor is in the layout of Hugging Face, or under its own name; and whether there is such a layout."""
    try:
        layout, _ = huggingface_out.layout_of(plan, spec)
    except GenctlError:
        return {k: Place((k,)) for k in tensors}, False
    return {k: place for k, place in layout.names(plan.model).items() if k in tensors}, True


# --- out ---------------------------------------------------------------------------------------------------------------------


def factors(ckpt: Path) -> tuple[Recipe, Spec, LoRA, dict[str, tuple[Tensor, Tensor]]]:
    """Of the newest step of a run: its recipe, Spec and LoRA, and (A, B) by layer. Raises GenctlError (no-input, power, ckpt-...)."""
    file = durable.locate(ckpt, lambda text: None)
    plan, spec = checkpoint.understand(checkpoint.look(file))
    if plan.train.lora is None:
        raise GenctlError("power", f"{safe_text(ckpt)} was not trained with train.lora: it has no adapter")
    named = durable.STEP.fullmatch(file.parent.name)
    if not named or not (file.parent / durable.RESUME).exists():
        what = f"{safe_text(ckpt)} is a lone file, in which corrections are merged; they stand apart in {durable.RESUME} of a run"
        raise GenctlError("no-input", what, "--ckpt RUN")
    step = durable.verify(file.parent.parent, int(named[1]))
    _, kept = checkpoint.unpack(step.resume, step.manifest["files"][durable.RESUME]["sha256"])
    home = "average/" if any(k.startswith("average/") for k in kept) else "raw/"
    ends = tuple(f".{f}" for f in FACTORS)
    found = {k.removeprefix(home): v for k, v in kept.items() if k.startswith(home) and k.endswith(ends)}
    layers = sorted({k.rpartition(".")[0] for k in found})
    return plan, spec, plan.train.lora, {k: (found[f"{k}.lora_A"], found[f"{k}.lora_B"]) for k in layers}


def write(ckpt: Path, folder: Path) -> list[Path]:
    """The adapter of a run, into an empty folder. Raises GenctlError before anything is written."""
    plan, spec, how, found = factors(ckpt)
    if how.keep:
        raise GenctlError("config", "train.lora.keep: what was trained whole is no part of an adapter", "export the merged model: --to hf")
    known, _ = places(plan, spec, {f"{k}.weight": v for k, v in found.items()})
    out: dict[str, Tensor] = {}
    for k, (a, b) in found.items():
        place = known[f"{k}.weight"]
        parts = torch.split(b, list(place.rows or (len(b),)))
        for name, rows, times in zip(place.names, parts, place.times or (1.0,) * len(parts), strict=True):
            stem = ROOT + name.removesuffix(".weight")
            out |= {f"{stem}.lora_A.weight": a.clone(), f"{stem}.lora_B.weight": rows / times}
    told = {
        "peft_type": "LORA",
        "task_type": TASKS.get(plan.family),
        "base_model_name_or_path": None,
        "r": how.rank,
        "lora_alpha": how.alpha,
        "lora_dropout": how.dropout,
        "target_modules": [n.removesuffix(".weight") for p in known.values() for n in p.names],
        "fan_in_fan_out": any(p.turned for p in known.values()),
        "bias": "none",
        "inference_mode": True,
    }
    folder.mkdir(parents=True, exist_ok=True)
    huggingface_out.save(out, folder / WEIGHTS)
    (folder / TOLD).write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    return [folder / WEIGHTS, folder / TOLD]


# --- in ----------------------------------------------------------------------------------------------------------------------


def read(folder: Path) -> dict[str, Tensor]:
    """The change (out, in) that an adapter makes to the matrix of each layer, by the layer's name. Raises GenctlError (ckpt-...)."""
    _, tree = huggingface.read_object(folder / TOLD)
    try:
        scale = _scale(layouts.Config(tree))
    except Unlike as e:
        raise GenctlError("ckpt-meta", [f"{safe_text(folder.name)}/{TOLD}: {line}" for line in e.lines]) from None
    file = folder / WEIGHTS
    if not file.exists() and (folder / "adapter_model.bin").exists():
        raise bad("ckpt-format", folder, "the adapter is a pickle, which can run code when it is read; genctl reads only safetensors")
    told = header.read(file, own=False).tensors
    pairs: dict[str, dict[str, str]] = {}
    for name, (dtype, shape) in told.items():
        match = re.fullmatch(re.escape(ROOT) + r"(.+)\.(lora_[AB])(\.default)?\.weight", name)
        if not match or len(shape) != 2 or dtype not in huggingface.FLOATS:
            raise bad("ckpt-content", file, f"tensor '{safe_text(name, 80)}' is no factor of a correction")
        pairs.setdefault(match[1], {})[match[2]] = name
    out = {}
    try:
        with safe_open(file, "pt") as f:
            for layer, two in pairs.items():
                if two.keys() != set(FACTORS) or told[two["lora_A"]][1][0] != told[two["lora_B"]][1][1]:
                    raise bad("ckpt-content", file, f"layer '{safe_text(layer, 60)}' has not two factors of one rank")
                a, b = (f.get_tensor(two[k]).float() for k in FACTORS)
                out[layer] = scale * b @ a
    except SafetensorError as e:
        raise bad("ckpt-content", file, safe_text(e)) from None
    return out


def _scale(config: layouts.Config) -> float:
    """How many times a correction counts. Raises Unlike for adapters that are more than B A."""
    config.one_of("peft_type", "LORA", ["LORA"])
    config.one_of("bias", "none", ["none"])
    for name, plain in (("use_dora", False), ("modules_to_save", None), ("rank_pattern", {}), ("alpha_pattern", {})):
        config.same(name, plain)
    rank = config.integer("r", 8)
    return config.real("lora_alpha", 8.0) / (rank**0.5 if config.flag("use_rslora", False) else rank)


def merge(folder: Path, base: Path) -> tuple[Recipe, Spec, dict[str, Tensor], int]:
    """A base checkpoint with an adapter in its matrices: recipe, Spec, tensors, and how many layers changed. Raises GenctlError."""
    changes = {f"{k}.weight": v for k, v in read(folder).items()}
    model, plan, spec, _ = checkpoint.load(durable.locate(base, lambda text: None))
    tensors = checkpoint.weights(model)
    known, _ = places(plan, spec, tensors)
    count = len(changes)
    for k, place in known.items():
        if not changes.keys() & set(place.names):
            continue
        theirs = place.theirs(tensors[k])
        for name in theirs.keys() & changes.keys():
            change = changes.pop(name)
            change = change.T if place.turned else change
            if change.shape != theirs[name].shape:
                what = f"layer '{safe_text(name, 60)}' is {tuple(theirs[name].shape)} in the base, {tuple(change.shape)} in the adapter"
                raise bad("ckpt-content", folder, what)
            theirs[name] = theirs[name] + change
        tensors[k] = place.ours(theirs.__getitem__)
    if changes:
        what = f"the base has no layer '{safe_text(min(changes), 80)}'" + (f", nor {len(changes) - 1} more" if len(changes) > 1 else "")
        raise bad("ckpt-mismatch", folder, what, "the base that the adapter was trained on")
    return plan, spec, tensors, count
