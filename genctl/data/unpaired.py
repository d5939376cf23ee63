"""Two kinds of pictures, side by side but not in pairs: each x stands beside an `other` that is drawn by itself."""

from dataclasses import replace
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from genctl.contract import Batch
from genctl.data import DataConfig, Dataset, Split, within
from genctl.errors import GenctlError
from genctl.maths import noise

BLOCK = 1000  # examples looked through at once


class Config(DataConfig):
    name: Literal["unpaired"] = "unpaired"
    """Two kinds of pictures."""
    of: dict[str, Any]
    """The one kind: the data section of another recipe."""
    only: list[int] = Field(default_factory=list)
    """Its classes; empty: all."""
    other: dict[str, Any] = Field(default_factory=dict)
    """The other kind; empty: of the same set."""
    other_only: list[int] = Field(default_factory=list)
    """Its classes; empty: all."""


def open(config: Config) -> Dataset:
    """x and `other`. Raises GenctlError: config, data-empty, and what opening the two raises."""
    if not config.other and not (config.only and config.other_only):
        raise GenctlError("config", "data: both kinds are of one set", "data.other, or classes by data.only and data.other_only")
    ours = within(config.of)
    theirs = within(config.other) if config.other else ours
    for what, found in (("of", ours), ("other", theirs)):
        if found.spec.kind != "image":
            raise GenctlError("config", f"data.{what}: expected pictures, found {found.spec.kind} {list(found.spec.shape)}")
    return beside(_alone(ours, config.only), _alone(theirs, config.other_only), config.limit)


def beside(ours: Dataset, theirs: Dataset, limit: int = 0) -> Dataset:
    """x of the first, and `other` of the second."""
    parts = {name: _beside(ours.split(name), theirs.split(name), name == "train") for name in ("train", "valid", "test")}
    spec = replace(ours.spec, given={"other": replace(theirs.spec, given={})})
    notes = tuple(dict.fromkeys(ours.notes + theirs.notes))
    return Dataset(spec, parts["train"].first(limit), parts["valid"], parts["test"], notes=notes)


def _alone(dataset: Dataset, only: list[int]) -> Dataset:
    """The examples of some classes. Raises GenctlError (config, data-empty)."""
    if not only:
        return dataset
    train, valid, test = (_of(dataset.split(name), only) for name in ("train", "valid", "test"))
    return replace(dataset, train=train, valid=valid, test=test)


def _of(split: Split, only: list[int]) -> Split:
    rows = []
    for start in range(0, len(split), BLOCK):
        with noise.stream("unpaired"):
            label = split.batch(start, start + BLOCK).given.get("label")
        if label is None or label.ndim != 1:
            raise GenctlError("config", "data.only: this data has no class label", "data.only=[]")
        rows.append(start + torch.isin(label, torch.tensor(only)).nonzero()[:, 0])
    kept = torch.cat(rows)
    if not len(kept):
        raise GenctlError("data-empty", f"data.only: no examples of {only}")
    return Split(len(kept), lambda index: split.get(kept[index]), lambda: f"{split.fingerprint()}-{only}")


def _beside(ours: Split, theirs: Split, training: bool) -> Split:
    """As many as there are of the first; the others at random in training, in turn where held out."""

    def get(index: Tensor) -> Batch:
        places = noise.randint(len(theirs), len(index)) if training else index % len(theirs)
        return Batch(x=ours.get(index).x, given={"other": theirs.get(places).x})

    return Split(len(ours), get, lambda: f"{ours.fingerprint()}-{theirs.fingerprint()}")
