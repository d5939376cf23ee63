"""Six made densities on the plane whose truth is known: ring8, grid25, two-moons, rings, checkerboard, pinwheel.

ring8 and grid25 are mixtures of Gaussians as in Lin et al. 2018, PacGAN, https://arxiv.org/abs/1712.04086.
Every shape is a mixture of components that are easy to draw from and to evaluate, so its log density is exact.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from genctl.contract import Spec
from genctl.data import DataConfig, Dataset, tensors


class Config(DataConfig):
    name: Literal["toy2d"] = "toy2d"
    """Made densities on the plane."""
    shape: Literal["ring8", "grid25", "two-moons", "rings", "checkerboard", "pinwheel"] = "ring8"
    """Which density."""
    count: int = Field(100_000, ge=1, le=10_000_000)
    """How many training points to draw."""


@dataclass(frozen=True)
class Gaussians:
    """An equal mixture of round Gaussians: centres (K, 2), one sigma."""

    modes: Tensor
    sigma: float

    def draw(self, n: int, seed: int) -> Tensor:
        g = torch.Generator().manual_seed(seed)
        centre = self.modes[torch.randint(len(self.modes), (n,), generator=g)]
        return centre + self.sigma * torch.randn(n, 2, generator=g)

    def log_prob(self, x: Tensor) -> Tensor:
        gap = torch.cdist(x.double(), self.modes.double()).square() / (2 * self.sigma**2)
        return (-gap).logsumexp(1) - math.log(2 * math.pi * self.sigma**2 * len(self.modes))


@dataclass(frozen=True)
class Checkerboard:
    """Uniform on the eight dark squares of side 1 in [-2, 2]^2."""

    def draw(self, n: int, seed: int) -> Tensor:
        g = torch.Generator().manual_seed(seed)
        row = torch.randint(4, (n,), generator=g)
        column = 2 * torch.randint(2, (n,), generator=g) + row % 2
        return torch.stack([column, row], 1) - 2.0 + torch.rand(n, 2, generator=g)

    def log_prob(self, x: Tensor) -> Tensor:
        cell = (x + 2).floor()
        dark = (cell.sum(1) % 2 == 0) & (cell >= 0).all(1) & (cell < 4).all(1)
        return torch.where(dark, -math.log(8), -math.inf).double()


@dataclass(frozen=True)
class Curves:
    """An equal mixture of curves t -> (2,), t uniform on [0, 1], blurred by a round Gaussian.

    The density is the mixture over `grid` points of each curve, dense against sigma, so it is exact to rounding.
    """

    curves: tuple[Callable[[Tensor], Tensor], ...]
    sigma: float
    grid: int = 400

    def draw(self, n: int, seed: int) -> Tensor:
        g = torch.Generator().manual_seed(seed)
        which, t = torch.randint(len(self.curves), (n,), generator=g), torch.rand(n, generator=g)
        on = torch.stack([c(t) for c in self.curves])[which, torch.arange(n)]
        return on + self.sigma * torch.randn(n, 2, generator=g)

    def log_prob(self, x: Tensor) -> Tensor:
        t = (torch.arange(self.grid) + 0.5) / self.grid
        points = Gaussians(torch.cat([c(t) for c in self.curves]), self.sigma)
        return torch.cat([points.log_prob(part) for part in torch.split(x, 4096)]) if len(x) else x.new_zeros(0).double()


def _arc(centre: tuple[float, float], radius: float, start: float, turn: float) -> Callable[[Tensor], Tensor]:
    def curve(t: Tensor) -> Tensor:
        angle = start + turn * t
        return radius * torch.stack([angle.cos(), angle.sin()], 1) + torch.tensor(centre)

    return curve


def _arm(k: int, arms: int = 5) -> Callable[[Tensor], Tensor]:
    def curve(t: Tensor) -> Tensor:
        radius = 0.3 + 1.9 * t
        angle = 2 * math.pi * k / arms + 0.25 * math.pi * radius
        return radius[:, None] * torch.stack([angle.cos(), angle.sin()], 1)

    return curve


def truth(shape: str) -> Gaussians | Checkerboard | Curves:
    """The density called `shape`."""
    if shape == "ring8":  # radius 2, sigma 0.1
        angle = torch.arange(8) * (2 * math.pi / 8)
        return Gaussians(2 * torch.stack([angle.cos(), angle.sin()], 1), 0.1)
    if shape == "grid25":  # spacing 1, sigma 0.05
        axis = torch.arange(5) - 2.0
        return Gaussians(torch.cartesian_prod(axis, axis), 0.05)
    if shape == "checkerboard":
        return Checkerboard()
    if shape == "two-moons":
        return Curves((_arc((-0.5, -0.25), 1, 0, math.pi), _arc((0.5, 0.25), 1, math.pi, math.pi)), 0.1)
    if shape == "rings":
        return Curves(tuple(_arc((0, 0), r, 0, 2 * math.pi) for r in (0.75, 1.5, 2.25)), 0.08, grid=250)
    return Curves(tuple(_arm(k) for k in range(5)), 0.1, grid=200)


def open(config: Config) -> Dataset:
    known = truth(config.shape)
    train, valid, test = (known.draw(n, seed) for seed, n in enumerate((config.count, 10_000, 10_000)))
    return Dataset(Spec(shape=(2,), media="vector"), tensors(train).first(config.limit), tensors(valid), tensors(test), known)
