"""Stacked MNIST: three handwritten digits a picture, one in each colour, so that there are a thousand kinds of them to be drawn.

Metz et al. 2017, https://arxiv.org/abs/1611.02163, section 3.3.1; the files are those of `mnist`. Training pictures are stacked of
training digits in three random orders, test pictures of test digits. The label is the three digits.
"""

from dataclasses import replace
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from genctl.contract import Batch, Spec
from genctl.data import Dataset, Split, find
from genctl.data._idx import WANTS, IdxConfig
from genctl.data._idx import open_folder as digits


class Config(IdxConfig):
    name: Literal["stacked-mnist"] = "stacked-mnist"
    """Three digits a picture."""
    stack_seed: int = Field(0, ge=0, lt=2**63)
    """The seed of which digits come together."""


def open(config: Config) -> Dataset:
    """Raises GenctlError: no-input, permission, data-format, data-empty, data-mismatch, config."""
    source = digits(find("mnist", config.path, WANTS), config.model_copy(update={"limit": 0}), [str(k) for k in range(10)])
    train, valid, test = (
        _stacked(source.split(name), config.stack_seed * 3 + salt) for salt, name in enumerate(("train", "valid", "test"))
    )
    spec = replace(source.spec, shape=(3, *source.spec.shape[1:]), given={"label": Spec(shape=(3,), vocab=10)})
    return Dataset(spec, train.first(config.limit), valid, test)


def _stacked(split: Split, seed: int) -> Split:
    """As many pictures as digits; each digit stands once in every colour."""
    g = torch.Generator().manual_seed(seed)
    orders = torch.stack([torch.randperm(len(split), generator=g) for _ in range(3)], 1)

    def get(index: Tensor) -> Batch:
        single = split.get(orders[index].flatten())
        return Batch(x=single.x.view(-1, 3, *single.x.shape[2:]), given={"label": single.given["label"].view(-1, 3)})

    return Split(len(split), get, lambda: f"{split.fingerprint()}-{seed}")
