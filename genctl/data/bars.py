"""Bars and stripes: small binary pictures whose rows, or whose columns, are all of one colour; every pattern equally likely.

MacKay 2003, Information Theory, Inference, and Learning Algorithms, section 43.3, https://www.inference.org.uk/itila.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from genctl.contract import Spec
from genctl.data import DataConfig, Dataset, tensors


class Config(DataConfig):
    name: Literal["bars"] = "bars"
    """Bars and stripes."""
    side: int = Field(4, ge=2, le=16)
    """Height and width."""
    count: int = Field(10_000, ge=1, le=10_000_000)
    """How many training pictures to draw."""


@dataclass(frozen=True)
class Bars:
    """Uniform on the 2^(side + 1) - 2 distinct patterns."""

    side: int

    @property
    def size(self) -> int:
        """How many patterns there are: 2^side of rows, as many of columns, the two plain pictures counted once."""
        return int(2 ** (self.side + 1)) - 2

    def pattern(self, index: Tensor) -> Tensor:
        """(n, 1, side, side) of indices 0 .. size - 1: first those of rows, then those of columns."""
        rows = index < 2**self.side
        code = torch.where(rows, index, index - 2**self.side + 1)
        lines = (code[:, None] >> torch.arange(self.side) & 1).float()
        across = lines[:, None, :, None].expand(-1, 1, self.side, self.side)
        return torch.where(rows[:, None, None, None], across, across.transpose(2, 3))

    def support(self) -> Tensor:
        """Every pattern."""
        return self.pattern(torch.arange(self.size))

    def log_prob(self, x: Tensor) -> Tensor:
        binary = ((x == 0) | (x == 1)).flatten(1).all(1)
        across = (x == x[..., :1]).flatten(1).all(1)
        down = (x == x[..., :1, :]).flatten(1).all(1)
        return torch.where(binary & (across | down), -math.log(self.size), -math.inf).double()

    def draw(self, n: int, seed: int) -> Tensor:
        return self.pattern(torch.randint(self.size, (n,), generator=torch.Generator().manual_seed(seed)))


def open(config: Config) -> Dataset:
    truth = Bars(config.side)
    train, valid, test = (truth.draw(n, seed) for seed, n in enumerate((config.count, 10_000, 10_000)))
    spec = Spec(shape=(1, config.side, config.side), levels=2, media="image")
    return Dataset(spec, tensors(train).first(config.limit), tensors(valid), tensors(test), truth)
