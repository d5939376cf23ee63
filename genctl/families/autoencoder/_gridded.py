"""A picture as a grid of codes and back, by convolutions; another family learns the grids."""

import torch
from pydantic import Field
from torch import Tensor, nn

from genctl.families.autoencoder._coded import Coded, CodedConfig
from genctl.maths import ranks
from genctl.nets.conv import down, pyramid, up
from genctl.nets.mlp import Width


class GriddedConfig(CodedConfig):
    """The keys that they take."""

    hidden: list[Width] = Field(default_factory=lambda: [32, 64], min_length=1, max_length=8)
    """Channels, one halving of the picture each."""
    blocks: int = Field(1, ge=0, le=64)
    """Residual blocks at each size."""
    norm: bool = True
    """Batch normalisation."""


class Gridded(Coded):
    """x = D(E(x)), E(x) (B, out, h, w)."""

    kinds = frozenset({"image"})

    def lay(self, out: int, into: int) -> tuple[int, int]:
        """Makes the networks: `out` numbers a place from the encoder, `into` to the decoder. The grid's (h, w)."""
        c, h, w = self.spec.shape
        config = self.config
        channels, sizes = [c, *config.hidden], pyramid(h, w, len(config.hidden))
        self.encoder = nn.Sequential(*down(channels, "relu", config.norm, config.blocks), nn.Conv2d(channels[-1], out, 1))
        self.decoder = nn.Sequential(nn.Conv2d(into, channels[-1], 3, padding=1), *up(sizes, channels, "relu", config.norm, config.blocks))
        self.register_buffer("variance", torch.ones(()))  # of the data, from the first batch: the unit of the error
        return sizes[-1]

    def read(self, x: Tensor) -> Tensor:
        """(B, out, h, w)."""
        out: Tensor = self.encoder(2 * x - 1 if self.spec.levels else x)
        return out

    def picture(self, e: Tensor) -> Tensor:
        """x (B, C, H, W) of (B, into, h, w)."""
        out: Tensor = self.decoder(e)
        return 0.5 + 0.5 * out if self.spec.levels else out

    def shown(self, e: Tensor) -> Tensor:
        """The same in the data's range; binary data is thresholded at one half."""
        x = self.picture(e)
        if not self.spec.levels:
            return x
        return x.clamp(0, 1).round() if self.spec.levels == 2 else x.clamp(0, 1)

    def error(self, x: Tensor, e: Tensor) -> Tensor:
        """Mean squared error in units of the data's variance."""
        return (self.picture(e) - x).square().mean() / self.variance

    def measure(self, x: Tensor) -> None:
        """The variance of the first batch over all ranks."""
        n, total, squares = ranks.total(torch.stack([torch.ones_like(x).sum(), x.sum(), x.square().sum()]))
        self.variance.copy_((squares / n - (total / n).square()).clamp(min=1e-6))
