"""What every command that uses a trained model begins with: examples to work on, powers to ask for, codes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genctl import catalog, powers
from genctl.contract import Batch, Model, Spec
from genctl.data import Dataset
from genctl.errors import GenctlError, safe_text
from genctl.maths import noise
from genctl.tasks import data as sources
from genctl.tasks import readback
from genctl.tasks.sample import Sampler

BLOCK = 250  # examples computed at once
SPLITS = ("train", "valid", "test")


@dataclass(frozen=True, kw_only=True)
class Where:
    """Which examples: of a file or folder, else of a split of `data`, else of the split of the data the model was trained on."""

    input: Path | None = None
    data: str | None = None
    split: str = "test"
    n: int | None = None
    seed: int = 0


def open_data(sampler: Sampler | None, data: str | None) -> tuple[Any, Dataset]:
    """(settings, dataset): the checkpoint's own unless `data` names another. Raises GenctlError (data-mismatch, no-input, ...)."""
    if data:
        settings, dataset = sources.open_source(data, sampler.spec if sampler else None)
    else:
        assert sampler
        settings = sampler.recipe.data
        dataset = catalog.load("data", settings.name).open(settings)
    if sampler and (sampler.spec.shape, sampler.spec.vocab) != (dataset.spec.shape, dataset.spec.vocab):
        what = f"the model draws {list(sampler.spec.shape)}, the data is {list(dataset.spec.shape)}"
        raise GenctlError("data-mismatch", what, "another --data")
    return settings, dataset


def check_split(name: str) -> None:
    """Raises GenctlError (usage)."""
    if name not in SPLITS:
        raise GenctlError("usage", f"--split {safe_text(name)}: expected train, valid or test")


def find(sampler: Sampler, where: Where) -> tuple[Batch, Spec]:
    """The examples, and the Spec of what they are: the data's, which knows the names of its labels.

    Raises GenctlError (usage, no-input, data-...).
    """
    check_split(where.split)
    if where.input:
        if where.data:
            raise GenctlError("usage", "give one of --input and --data")
        x, _ = readback.read(where.input, sampler.spec, where.n)
        return Batch(x=x), sampler.spec
    dataset = open_data(sampler, where.data)[1]
    split = dataset.split(where.split)
    with noise.stream(where.seed, "examples"):
        return split.batch(0, where.n or len(split)), dataset.spec


def need(sampler: Sampler, *names: str) -> None:
    """Raises GenctlError (power) when the family lacks one of them."""
    missing = [name for name in names if name not in powers.of(type(sampler.model))]
    if missing:
        what = f"family '{sampler.recipe.family}' lacks the power to {' and '.join(missing)}"
        raise GenctlError("power", what, "genctl list powers")
    if "predict" in names and not getattr(sampler.model, "target", ""):
        raise GenctlError("power", f"this model of family '{sampler.recipe.family}' was trained without labels: it tells none")


def blocks(model: Model, batch: Batch, seed: int, what: str, f: Callable[[Batch], Tensor]) -> Tensor:
    """f of a batch, block by block on the model's device, as one tensor on the CPU; its noise is a function of (seed, what, block)."""
    model.eval()
    out = []
    for i, part in enumerate(batch.split(-(-len(batch) // BLOCK))):
        with torch.no_grad(), noise.stream(seed, what, i):
            out.append(f(part.map(lambda t: t.to(model.device))).cpu())
    return torch.cat(out)


def beside(model: Model, batch: Batch) -> dict[str, Tensor]:
    """What the model is conditional on. Raises GenctlError (power) when the examples come without it."""
    for name in model.conditions:
        if name not in batch.given:
            raise GenctlError("power", f"this model is conditional on '{name}', which these examples lack", "--data instead of --input")
    return {name: batch.given[name] for name in model.conditions}


def encode(sampler: Sampler, batch: Batch, seed: int = 0) -> Tensor:
    """(N, *code.shape)."""
    model: Any = sampler.model
    beside(model, batch)
    return blocks(model, batch, seed, "encode", model.encode)


def decode(sampler: Sampler, code: Tensor, given: dict[str, Tensor], seed: int = 0) -> Tensor:
    """(N, *shape)."""
    model: Any = sampler.model
    return blocks(model, Batch(x=code, given=given), seed, "decode", lambda b: model.decode(b.x, b.given or None))
