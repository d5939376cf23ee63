"""EDM: diffusion whose network reads and writes numbers of one size at every noise, trained where there is most to learn.

Karras, Aittala, Aila and Laine 2022, https://arxiv.org/abs/2206.00364.
"""

import math

import torch
from pydantic import Field
from torch import Tensor

from genctl.families.diffusion._diffusion import Scaling
from genctl.families.diffusion._likely import Likely, LikelyConfig
from genctl.maths.schedules import normal
from genctl.maths.solvers import karras


class EDM(Likely):
    """z = x_0 + s eps, log s normal."""

    class Config(LikelyConfig):
        noise_mean: float = Field(-1.2, ge=-10, le=10)
        """Mean of log s in training, P_mean (table 1), for data of deviation one half; of data of deviation 1 it is log 2 more."""
        noise_std: float = Field(1.2, gt=0, le=10)
        """Its deviation, P_std."""
        noise_low: float = Field(0.002, gt=0, le=1)
        """The least noise of a draw."""
        noise_high: float = Field(80.0, gt=1, le=10_000)
        """The most."""
        rho: float = Field(7.0, gt=0, le=100)
        """How the levels of a draw crowd towards the least (eq. 5)."""

    def scaling(self, s: Tensor) -> Scaling:
        """Table 1: unit variance of what goes in and of what is asked, and the least of the network's error in the guess."""
        d = self.spread
        whole = s * s + d * d
        return Scaling(whole.rsqrt(), d * d / whole, s * d * whole.rsqrt())

    def noise_at(self, u: Tensor) -> Tensor:
        mean = self.config.noise_mean + math.log(self.spread / 0.5)
        return torch.exp(mean + self.config.noise_std * normal(u))

    def ladder(self, steps: int) -> list[float]:
        return karras(self.config.noise_high, self.config.noise_low, steps, self.config.rho)
