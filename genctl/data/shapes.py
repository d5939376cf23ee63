"""Shapes: small binary pictures of one figure, whose kind, size and place are known: what disentanglement is measured on.

Made here in the manner of dSprites (Matthey et al. 2017, https://github.com/google-deepmind/dsprites-dataset), without its turning, which
leaves a square the same four times over. Every combination of the factors stands in the set once; a tenth of them is held out for
validation and a tenth for the test.
"""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from genctl.contract import Spec
from genctl.data import DataConfig, Dataset, tensors

FIGURES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {  # inside, of coordinates with y upwards and a half-width of about 1
    "square": lambda x, y: (x.abs() <= 0.9) & (y.abs() <= 0.9),
    "ellipse": lambda x, y: x**2 + (y / 0.6) ** 2 <= 1,
    "heart": lambda x, y: ((1.2 * x) ** 2 + (1.2 * y) ** 2 - 1) ** 3 <= (1.2 * x) ** 2 * (1.2 * y) ** 3,
}


class Config(DataConfig):
    name: Literal["shapes"] = "shapes"
    """One figure a picture, of known kind, size and place."""
    side: int = Field(32, ge=16, le=128)
    """Height and width."""
    sizes: int = Field(6, ge=2, le=32)
    """How many sizes, from a sixth to a third of the picture across."""
    places: int = Field(12, ge=2, le=64)
    """How many places along each axis."""
    outline: bool = False
    """Beside each picture its outline as a picture `source`: pairs to learn translation from."""


def draw(kind: Tensor, radius: Tensor, x: Tensor, y: Tensor, side: int) -> Tensor:
    """(n, 1, side, side) of 0 and 1: figures of the index `kind` with a half-width and a centre in pixels, (n,) each."""
    at = torch.arange(side) + 0.5
    across = (at[None, None, :] - x[:, None, None]) / radius[:, None, None]
    up = (y[:, None, None] - at[None, :, None]) / radius[:, None, None]
    figures = torch.stack([inside(across, up) for inside in FIGURES.values()])
    return figures[kind, torch.arange(len(kind))][:, None].float()


def open(config: Config) -> Dataset:
    axes = {"label": len(FIGURES), "size": config.sizes, "x": config.places, "y": config.places}
    every = torch.cartesian_prod(*(torch.arange(k) for k in axes.values()))
    every = every[torch.randperm(len(every), generator=torch.Generator().manual_seed(0))]
    kind, size, column, row = every.unbind(1)
    radius = config.side / 12 * (1 + size / (config.sizes - 1))
    margin = config.side / 6
    step = (config.side - 2 * margin) / (config.places - 1)
    x = draw(kind, radius, margin + step * column, margin + step * row, config.side)
    beside = dict(zip(axes, (kind, size, column, row), strict=True))
    names = {"label": list(FIGURES)}
    given = {k: Spec(shape=(), vocab=n, codec={"names": names[k]} if k in names else {}) for k, n in axes.items()}
    if config.outline:
        beside["source"] = x + F.max_pool2d(-x, 3, 1, 1)  # less what is left when a pixel is taken off all round
        given["source"] = Spec(shape=(1, config.side, config.side), levels=2, media="image")
    tenth = len(x) // 10
    cuts = {"valid": slice(0, tenth), "test": slice(tenth, 2 * tenth), "train": slice(2 * tenth, None)}
    parts = {name: tensors(x[cut], {k: v[cut] for k, v in beside.items()}) for name, cut in cuts.items()}
    spec = Spec(shape=(1, config.side, config.side), levels=2, given=given, media="image")
    return Dataset(spec, parts["train"].first(config.limit), parts["valid"], parts["test"])
