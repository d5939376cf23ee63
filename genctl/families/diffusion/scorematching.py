"""Denoising score matching: the gradient of the log density at many levels of noise, and walks up that gradient.

Song and Ermon 2019, https://arxiv.org/abs/1907.05600, with the levels and lengths of Song and Ermon 2020, https://arxiv.org/abs/2006.09011.
"""

import torch
from pydantic import Field
from torch import Tensor

from genctl.contract import Spec
from genctl.families.diffusion import _diffusion
from genctl.families.diffusion._diffusion import Scaling, SolverName
from genctl.families.diffusion._likely import Likely, LikelyConfig
from genctl.maths.solvers import geometric


class ScoreMatching(Likely):
    """The network guesses eps at z = x_0 + s eps; the score is minus that over s."""

    class Config(LikelyConfig):
        noise_low: float = Field(0.01, gt=0, le=1)
        """The least noise."""
        noise_high: float = Field(50.0, gt=1, le=10_000)
        """The most: as far as data lie from each other (technique 1)."""
        levels: int = Field(500, ge=2, le=10_000)
        """Levels between them, each a constant times the one before."""

    class Draw(_diffusion.Draw):
        solver: SolverName = "langevin"
        """Annealed Langevin dynamics; any other solver serves as well."""
        steps: int = Field(500, ge=1, le=10_000)
        """Calls of the network."""
        corrections: int = Field(2, ge=1, le=1000)
        """langevin, pc: moves at each level."""

    def __init__(self, config: Config, spec: Spec) -> None:
        super().__init__(config, spec)
        self.s: Tensor
        self.register_buffer(
            "s", torch.tensor(geometric(config.noise_low, config.noise_high, config.levels))
        )  # kept: weights learned at these levels are no model of others

    def scaling(self, s: Tensor) -> Scaling:
        return Scaling((s * s + self.spread**2).rsqrt(), torch.ones_like(s), -s)

    def noise_at(self, u: Tensor) -> Tensor:
        return self.s[(u * self.config.levels).long()]

    def ladder(self, steps: int) -> list[float]:
        return geometric(self.config.noise_high, self.config.noise_low, steps)
