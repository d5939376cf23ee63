"""VQ-VAE: pictures as a small grid of symbols; a prior of tokens learns to draw the grid.

Van den Oord, Vinyals and Kavukcuoglu 2017, https://arxiv.org/abs/1711.00937. `quantiser: grid` is finite scalar quantisation,
Mentzer et al. 2023, https://arxiv.org/abs/2309.15505.
"""

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from genctl.contract import Batch, Given, Loss, Part, Player, Progress, Spec
from genctl.errors import GenctlError
from genctl.families.autoencoder._gridded import Gridded, GriddedConfig
from genctl.nets.quantise import Codebook, Grid


class VQVAE(Gridded):
    """x = D(e(z)), z (h, w) of symbols."""

    class Config(GriddedConfig):
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
        grid = config.quantiser == "grid"
        size = len(config.levels) if grid else config.size
        shape = self.lay(size, size)
        self.quantiser = Grid(config.levels) if grid else Codebook(config.codes, size)
        self.code = Spec(shape=shape, vocab=math.prod(config.levels) if grid else config.codes)
        self.build_prior()

    def first(self) -> Player:
        return Player(name="codes", params=[*self.encoder.parameters(), *self.decoder.parameters()], loss=self.loss)

    def features(self, x: Tensor) -> Tensor:
        """(B h w, D): a vector for each place of the grid."""
        return self.read(x).movedim(1, -1).flatten(0, 2)

    def laid(self, e: Tensor) -> Tensor:
        """The vectors of the grid (B h w, D) as it lies (B, D, h, w)."""
        return e.view(-1, *self.code.shape, e.shape[-1]).movedim(-1, 1)

    def loss(self, batch: Batch, at: Progress) -> Loss:
        """Mean squared error in units of the data's variance, and the commitment (eq. 3); the codebook moves by its running means."""
        h = self.features(batch.x)
        if self.training:
            if at.step == 0:
                self.measure(batch.x)
            self.quantiser.learn(h.detach(), self.quantiser.nearest(h.detach()), at.step)
        e, symbols, commitment = self.quantiser(h)
        error = self.error(batch.x, self.laid(e))
        share = torch.bincount(symbols, minlength=self.code.vocab) / len(symbols)
        used = torch.exp(-(share * share.clamp(min=1e-12).log()).sum())
        return Loss(error + self.config.commitment * commitment, error=error, commitment=commitment, codes_used=used)

    def encode(self, batch: Batch) -> Tensor:
        """Symbols (B, h, w)."""
        symbols: Tensor = self.quantiser.nearest(self.features(batch.x))
        return symbols.view(-1, *self.code.shape)

    def decode(self, code: Tensor, given: Given | None = None) -> Tensor:
        return self.shown(self.laid(self.quantiser.vectors(code.flatten())))
