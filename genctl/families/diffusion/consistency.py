"""Consistency model: from any noise straight to where the flow would lead, in one step or a few.

Song, Dhariwal, Chen and Sutskever 2023, https://arxiv.org/abs/2303.01469; trained without a teacher as in Song and Dhariwal 2024,
https://arxiv.org/abs/2310.14189 (iCT).
"""

import math

import torch
from pydantic import Field
from torch import Tensor

from genctl.contract import Batch, Loss, Progress
from genctl.families.diffusion import _diffusion
from genctl.families.diffusion._diffusion import Diffusion, Scaling, SolverName
from genctl.families.diffusion._network import NetworkConfig
from genctl.maths import noise
from genctl.maths.solvers import karras


class Consistency(Diffusion):
    """f(x_0 + s eps, s) is alike at neighbouring s, and f(x_0, least s) = x_0."""

    class Config(NetworkConfig):
        coarse: int = Field(10, ge=2, le=10_000)
        """Levels of noise at the start of training, s_0."""
        fine: int = Field(640, ge=2, le=100_000)
        """Levels at its end, s_1; they double in equal spans of training."""
        noise_mean: float = Field(-1.1, ge=-10, le=10)
        """Mean of log s in training, for data of deviation one half; of data of deviation 1 it is log 2 more."""
        noise_std: float = Field(2.0, gt=0, le=10)
        """Its deviation."""
        noise_low: float = Field(0.002, gt=0, le=1)
        """The least noise."""
        noise_high: float = Field(80.0, gt=1, le=10_000)
        """The most."""

    class Draw(_diffusion.Draw):
        solver: SolverName = "renoise"
        """A guess, and noise anew; the others follow a flow that this model does not guess."""
        steps: int = Field(2, ge=1, le=10_000)
        """Calls of the network."""

    def scaling(self, s: Tensor) -> Scaling:
        """At the least noise z itself (Song et al. 2023, appendix C)."""
        d, above = self.spread, s - self.config.noise_low
        return Scaling((s * s + d * d).rsqrt(), d * d / (above * above + d * d), d * above * (s * s + d * d).rsqrt())

    def ladder(self, steps: int) -> list[float]:
        """For two steps the second is where Song et al. found it, at a hundredth of the most; more are spaced as Karras et al. do."""
        low, high = self.config.noise_low, self.config.noise_high
        return [high, 0.8 * high / 80][:steps] if steps <= 2 else karras(high, low, steps + 1)[:-1]

    def levels_at(self, at: Progress) -> list[float]:
        """The levels of noise at this step of training, rising (Song and Dhariwal 2024, section 3.4)."""
        low, high = self.config.coarse, max(self.config.coarse, self.config.fine)
        doublings = math.floor(math.log2(high / low)) + 1
        count = min(low * 2 ** math.floor(at.fraction * doublings), high) + 1
        return karras(self.config.noise_high, self.config.noise_low, count)[::-1]

    def loss(self, batch: Batch, at: Progress) -> Loss:
        """The pseudo-Huber distance between guesses at neighbouring noise, over their distance; the lower one stands still."""
        x, n = self.to_line(batch.x), len(batch.x)
        s = torch.tensor(self.levels_at(at), device=x.device)
        mean = self.config.noise_mean + math.log(self.spread / 0.5)
        edges = torch.erf((s.log() - mean) / (math.sqrt(2) * self.config.noise_std))
        share = (edges[1:] - edges[:-1]).clamp(min=1e-12).cumsum(0)
        k = torch.searchsorted(share / share[-1], noise.rand(n, device=x.device)).clamp(max=len(s) - 2)
        eps, told = noise.randn(*x.shape, device=x.device), self.net.tell(batch.given, self.hidden(n))
        column = (-1, *[1] * (x.ndim - 1))
        upper = self.guess(x + s[k + 1].view(column) * eps, s[k + 1], told)
        with torch.no_grad():
            lower = self.guess(x + s[k].view(column) * eps, s[k], told)
        c = 0.00054 * math.sqrt(self.spec.size)
        gap = ((upper - lower).square().flatten(1).sum(1) + c * c).sqrt() - c
        return Loss((gap / (s[k + 1] - s[k])).mean())
