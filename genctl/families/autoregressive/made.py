"""MADE: one masked network scores every pixel given those before it; a whole drawing costs one pass of it.

Germain, Gregor, Murray and Larochelle 2015, https://arxiv.org/abs/1502.03509.
"""

from typing import Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from genctl.contract import Spec
from genctl.errors import GenctlError
from genctl.families.autoregressive._pixels import Pixels, PixelsConfig
from genctl.nets import made
from genctl.nets.mlp import Width
from genctl.powers import State


class MADE(Pixels):
    """Fully connected layers whose masks keep the order (eq. 8 and 9)."""

    kinds = frozenset({"image"})

    class Config(PixelsConfig):
        hidden: list[Width] = Field(default_factory=lambda: [1000, 1000], min_length=1, max_length=16)
        """Widths of the hidden layers."""
        activation: Literal["relu", "silu", "tanh", "gelu"] = "relu"
        """Between the layers."""

    def __init__(self, config: Config, spec: Spec) -> None:
        super().__init__(config, spec)
        if self.channels > 1:
            raise GenctlError("config", "made reads pictures of one channel", "family: pixelcnn")
        self.net = made.MADE(spec.size, self.said.size, config.hidden, config.activation, self.classes)

    def context(self, label: Tensor | None) -> Tensor | None:
        return None if label is None else F.one_hot(label, self.classes).float()

    def params(self, x: Tensor, label: Tensor | None) -> Tensor:
        out: Tensor = self.net(self.scaled(x).flatten(1), self.context(label))
        return out.view(len(x), -1, *self.grid)

    def first_pixel(self, n: int, label: Tensor | None) -> tuple[Tensor, State]:
        params, kept = self.net.grow(self.net.begin(n, self.context(label)), 0)
        return params, {f"layer{i}": v for i, v in enumerate(kept)}

    def next_pixel(self, x: Tensor, place: int, kept: State) -> tuple[Tensor, State]:
        layers = [kept[f"layer{i}"] for i in range(len(self.config.hidden) + 1)]
        params, layers = self.net.grow(layers, place, self.scaled(x[:, 0]))
        return params, {f"layer{i}": v for i, v in enumerate(layers)}
