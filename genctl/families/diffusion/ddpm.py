"""Denoising diffusion: learns to take away a little noise, and draws by taking away all of it.

Ho, Jain and Abbeel 2020, https://arxiv.org/abs/2006.11239; DDIM: Song, Meng and Ermon 2021, https://arxiv.org/abs/2010.02502;
the cosine schedule: Nichol and Dhariwal 2021, https://arxiv.org/abs/2102.09672; v: Salimans and Ho 2022,
https://arxiv.org/abs/2202.00512; guidance: Ho and Salimans 2022, https://arxiv.org/abs/2207.12598.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from genctl.contract import Spec
from genctl.families.diffusion._diffusion import Scaling
from genctl.families.diffusion._likely import Likely, LikelyConfig
from genctl.maths.schedules import SCHEDULES
from genctl.maths.solvers import spaced


class DDPM(Likely):
    """q(x_t | x_0) = N(sqrt(abar_t) x_0, 1 - abar_t), so s_t^2 = (1 - abar_t) / abar_t; t = 1 to T alike."""

    class Config(LikelyConfig):
        steps: int = Field(1000, ge=2, le=10_000)
        """T: steps from data to noise."""
        schedule: Literal["linear", "cosine"] = "cosine"
        """How abar falls."""
        predict: Literal["eps", "v", "x0"] = "v"
        """What the network guesses: the noise, v = sqrt(abar) eps - sqrt(1 - abar) x_0, or x_0."""

    def __init__(self, config: Config, spec: Spec) -> None:
        super().__init__(config, spec)
        self.table = [((1 - a) / a) ** 0.5 for a in SCHEDULES[config.schedule](config.steps)]
        self.s: Tensor
        self.register_buffer("s", torch.tensor(self.table))  # kept: weights learned at these levels are no model of others

    def scaling(self, s: Tensor) -> Scaling:
        into = (1 + s * s).rsqrt()
        if self.config.predict == "eps":
            return Scaling(into, torch.ones_like(s), -s)
        if self.config.predict == "v":
            return Scaling(into, into * into, -s * into)
        return Scaling(into, torch.zeros_like(s), torch.ones_like(s))

    def noise_at(self, u: Tensor) -> Tensor:
        return self.s[(u * self.config.steps).long()]

    def clock(self, s: Tensor) -> Tensor:
        """t on a scale of 1000, between steps in proportion to log s."""
        table = self.s.log()
        at = s.log()
        k = torch.searchsorted(table, at).clamp(1, len(table) - 1)
        part = ((at - table[k - 1]) / (table[k] - table[k - 1])).clamp(0, 1)
        return (k - 1 + part) * (1000 / self.config.steps)

    def ladder(self, steps: int) -> list[float]:
        return [self.table[t] for t in spaced(self.config.steps, steps)]

    def bound_levels(self) -> list[float]:
        """All T of the process: the bound of Ho et al. 2020, eq. 5."""
        return self.table[::-1]
