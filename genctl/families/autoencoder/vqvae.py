"""VQ-VAE: pictures as a small grid of symbols; a prior of tokens learns to draw the grid.

Van den Oord, Vinyals and Kavukcuoglu 2017, https://arxiv.org/abs/1711.00937. `quantiser: grid` is finite scalar quantisation,
Mentzer et al. 2023, https://arxiv.org/abs/2309.15505.
"""

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from genctl.contract import Batch, Given, Loss, Part, Player, Progress, Spec
from genctl.errors import GenctlError
from genctl.families.autoencoder._coded import Coded, CodedConfig
from genctl.maths import ranks
from genctl.nets.conv import down, pyramid, up
from genctl.nets.mlp import Width
from genctl.nets.quantise import Codebook, Grid


class VQVAE(Coded):
    """x = D(e(z)), z (h, w) of symbols."""

    kinds = frozenset({"image"})

    class Config(CodedConfig):
        hidden: list[Width] = Field(default_factory=lambda: [32, 64], min_length=1, max_length=8)
        """Channels, one halving of the picture each."""
        blocks: int = Field(1, ge=0, le=64)
        """Residual blocks at each size."""
        norm: bool = True
        """Batch normalisation."""
        quantiser: Literal["codebook", "grid"] = "codebook"
        """Learned vectors, or a fixed grid of `levels`."""
        codes: int = Field(128, ge=2, le=65_536)
        """For a codebook: symbols."""
        size: int = Field(16, ge=1, le=4096)
        """For a codebook: numbers of a vector."""
        levels: list[int] = Field(default_factory=lambda: [8, 5, 5], min_length=1, max_length=16)
        """For a grid: levels of each number, at least 2."""
        commitment: float = Field(0.25, ge=0, le=1000)
        """Weight of |h - e|^2, which keeps the encoder near the codebook (eq. 3)."""
        prior: Part = Part(family="pixelcnn", model={"layers": 6, "channels": 32})
        """The family that learns the grids of symbols: `{family: ..., model: {...}}`."""

    def __init__(self, config: Config, spec: Spec) -> None:
        super().__init__(config, spec)
        if min(config.levels) < 2 or math.prod(config.levels) > 2**20:
            raise GenctlError("config", "model.levels: expected numbers of 2 or more whose product is at most 1,048,576")
        c, h, w = spec.shape
        grid = config.quantiser == "grid"
        size = len(config.levels) if grid else config.size
        channels, sizes = [c, *config.hidden], pyramid(h, w, len(config.hidden))
        self.encoder = nn.Sequential(*down(channels, "relu", config.norm, config.blocks), nn.Conv2d(channels[-1], size, 1))
        self.decoder = nn.Sequential(nn.Conv2d(size, channels[-1], 3, padding=1), *up(sizes, channels, "relu", config.norm, config.blocks))
        self.quantiser = Grid(config.levels) if grid else Codebook(config.codes, size)
        self.code = Spec(shape=sizes[-1], vocab=math.prod(config.levels) if grid else config.codes)
        self.register_buffer("variance", torch.ones(()))  # of the data, from the first batch: the unit of the error
        self.build_prior()

    def first(self) -> Player:
        return Player(name="codes", params=[*self.encoder.parameters(), *self.decoder.parameters()], loss=self.loss)

    def features(self, x: Tensor) -> Tensor:
        """(B h w, D): a vector for each place of the grid."""
        h: Tensor = self.encoder(2 * x - 1 if self.spec.levels else x)
        return h.movedim(1, -1).flatten(0, 2)

    def picture(self, e: Tensor) -> Tensor:
        """x (B, C, H, W) of the vectors of the grid (B h w, D)."""
        out: Tensor = self.decoder(e.view(-1, *self.code.shape, e.shape[-1]).movedim(-1, 1))
        return 0.5 + 0.5 * out if self.spec.levels else out

    def loss(self, batch: Batch, at: Progress) -> Loss:
        """Mean squared error in units of the data's variance, and the commitment (eq. 3); the codebook moves by its running means."""
        h = self.features(batch.x)
        if self.training:
            if at.step == 0:
                self.measure(batch.x)
            self.quantiser.learn(h.detach(), self.quantiser.nearest(h.detach()), at.step)
        e, symbols, commitment = self.quantiser(h)
        error = (self.picture(e) - batch.x).square().mean() / self.variance
        share = torch.bincount(symbols, minlength=self.code.vocab) / len(symbols)
        used = torch.exp(-(share * share.clamp(min=1e-12).log()).sum())
        return Loss(error + self.config.commitment * commitment, error=error, commitment=commitment, codes_used=used)

    def measure(self, x: Tensor) -> None:
        """The variance of the first batch over all ranks."""
        n, total, squares = ranks.total(torch.stack([torch.ones_like(x).sum(), x.sum(), x.square().sum()]))
        self.variance.copy_((squares / n - (total / n).square()).clamp(min=1e-6))

    def encode(self, batch: Batch) -> Tensor:
        """Symbols (B, h, w)."""
        symbols: Tensor = self.quantiser.nearest(self.features(batch.x))
        return symbols.view(-1, *self.code.shape)

    def decode(self, code: Tensor, given: Given | None = None) -> Tensor:
        x = self.picture(self.quantiser.vectors(code.flatten()))
        return x.clamp(0, 1) if self.spec.levels else x
