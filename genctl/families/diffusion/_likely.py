"""A diffusion model whose guess of x_0 is a mean, learned by squares: it has likelihoods, and its flow leads from data to noise and back."""

import itertools
import math
from abc import abstractmethod
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from genctl.contract import Batch, Given, Loss, Progress, Spec
from genctl.families.diffusion._diffusion import Diffusion
from genctl.families.diffusion._network import NetworkConfig
from genctl.maths import noise, solvers
from genctl.maths.solvers import Denoise
from genctl.nets.told import Told

LOG2PI = math.log(2 * math.pi)
EXACT = 8  # numbers up to which a divergence is taken one by one
LEVELS = 1000  # of the bound


class LikelyConfig(NetworkConfig):
    """The keys that they take."""

    likelihood: Literal["bound", "ode"] = "bound"
    """bound: the variational bound over a thousand levels, a few of them drawn; ode: the density of the flow, its divergence exact for up
    to eight numbers and estimated beyond (Song et al. 2021, https://arxiv.org/abs/2011.13456, section 4.3)."""
    likelihood_steps: int = Field(50, ge=1, le=1000)
    """Levels drawn for the bound, or steps of the flow's density, two calls each."""
    path_steps: int = Field(50, ge=2, le=1000)
    """Levels between x and its code."""


class Likely(Diffusion):
    """With `log_prob`, `encode`, `decode` and `prior`."""

    log_prob_is = "bound"

    def __init__(self, config: LikelyConfig, spec: Spec) -> None:
        super().__init__(config, spec)
        self.code = Spec(shape=spec.shape)
        if config.likelihood == "ode" and not spec.levels and not self.soft:
            self.log_prob_is = "exact"

    @abstractmethod
    def noise_at(self, u: Tensor) -> Tensor:
        """The quantile function of the s of training: u (B,) in [0, 1) -> s (B,)."""

    def loss(self, batch: Batch, at: Progress) -> Loss:
        """The mean squared error of what the network guesses; every noise as often as `noise_at` says."""
        x, n = self.to_line(batch.x), len(batch.x)
        s, eps = self.noise_at(noise.rand(n, device=x.device)), self.noise_for(batch)
        told = self.net.tell(batch.given, self.hidden(n))
        column = s.view(-1, *[1] * (x.ndim - 1))
        z, by = x + column * eps, self.scaling(column)
        return Loss(F.mse_loss(self.net(by.into * z, self.clock(s), told), (x - by.skip * z) / by.out))

    def noise_for(self, batch: Batch) -> Tensor:
        """What x is mixed with."""
        return noise.randn(*batch.x.shape, device=batch.x.device)

    def log_prob(self, batch: Batch) -> Tensor:
        """log p(x) (B,), nats: a bound on it, or for numbers by the flow exact but for its steps. One-hots and, by the flow, pixels are
        dequantised by one draw of uniform noise."""
        given = {k: batch.given[k] for k in self.conditions}
        added = self.spec.size * math.log(2.0) if self.spec.levels else 0.0  # [0, 1] to [-1, 1]
        if self.config.likelihood == "bound":
            found = self.bound(self.to_line(batch.x), self.net.tell(given))
            return found if self.spec.levels else found - self.stretch()
        x, k = batch.x, self.spec.levels
        if k:
            x = (x * (k - 1) + noise.rand(*x.shape, device=x.device)) / k
            added -= self.spec.size * math.log(k)
        else:
            added = -self.stretch()
        return self.flow_density(self.to_line(x), self.denoiser(len(x), given)) + added

    def stretch(self) -> Tensor:
        """log |det dx/dy|."""
        return self.scale.log().sum() * (self.spec.size / self.scale.numel())

    def bound(self, y: Tensor, told: Told) -> Tensor:
        """The variational bound (B,) on log p of y on the line; of pixels, on the probability of their levels.

        Kingma et al. 2021, https://arxiv.org/abs/2107.00630, sections 3 and 4, in the coordinate of z: a prior, a sum over levels of
        1/2 (1/t^2 - 1/s^2) |x_0 - guess|^2, of which `likelihood_steps` are drawn, and what is left at the lowest.
        """
        sigmas = self.bound_levels()
        top, low = sigmas[0], sigmas[-1]
        share = top**2 / (1 + top**2)
        prior = 0.5 * (share - 1 - math.log(share) + y.square() / (1 + top**2)).flatten(1).sum(1)
        s = torch.tensor(sigmas, device=y.device)
        steps, path = len(sigmas) - 1, torch.zeros_like(prior)
        m = min(self.config.likelihood_steps, steps)
        offset = noise.rand(len(y), device=y.device)
        for j in range(m):  # one level of each of m equal parts
            k = ((j + offset) * (steps / m)).long().clamp(max=steps - 1)
            at, column = s[k], s[k].view(-1, *[1] * (y.ndim - 1))
            off = y - self.guess(y + column * noise.randn(*y.shape, device=y.device), at, told)
            path = path + steps / m * 0.5 * (s[k + 1] ** -2 - at**-2) * off.square().flatten(1).sum(1)
        z = y + low * noise.randn(*y.shape, device=y.device)
        if self.spec.levels:
            return self.read_levels(y, z, low) - prior - path
        rest = -0.5 * ((y - self.guess(z, s[-1:].expand(len(y)), told)).square() / low**2 + LOG2PI + 2 * math.log(low))
        return rest.flatten(1).sum(1) - prior - path

    def bound_levels(self) -> list[float]:
        """The levels between which the bound's steps go: even in log s, which loses least."""
        every = self.ladder(10_000)
        return solvers.geometric(every[0], every[-1], LEVELS)

    def read_levels(self, y: Tensor, z: Tensor, s: float) -> Tensor:
        """log p(levels | z) (B,), each pixel on its own, in proportion to N(z; level, s^2)."""
        k = self.spec.levels
        near = min(k - 1, math.ceil(5 * s * (k - 1)) + 1)  # levels each way that count
        place, at = (y + 1) / 2 * (k - 1), (z + 1) / 2 * (k - 1)
        nearest = at.round().clamp(0, k - 1)
        total = torch.full_like(y, -math.inf)
        for step in range(-near, near + 1):
            level = nearest + step
            weight = -0.5 * ((at - level) * 2 / (k - 1) / s).square()
            total = torch.logaddexp(total, weight.masked_fill((level < 0) | (level > k - 1), -math.inf))
        found = -0.5 * ((at - place) * 2 / (k - 1) / s).square() - total
        return found.flatten(1).sum(1)

    def flow_density(self, y: Tensor, denoise: Denoise) -> Tensor:
        """log p(y) (B,) by the flow dz / d log s = z - denoise(z, s), Heun's steps; log p changes by minus its divergence."""
        every = self.ladder(10_000)
        sigmas = solvers.geometric(every[-1], min(every[0], 200.0), self.config.likelihood_steps + 1)
        z, log_p, size = y, torch.zeros(len(y), device=y.device), y[0].numel()
        probe = None if size <= EXACT else 2.0 * (noise.rand(*y.shape, device=y.device) < 0.5) - 1
        slope, spread = self.slope(z, sigmas[0], denoise, probe)
        for s, t in itertools.pairwise(sigmas):
            h = math.log(t / s)
            ahead, wider = self.slope(z + h * slope, t, denoise, probe)
            z, log_p = z + h / 2 * (slope + ahead), log_p + h / 2 * (spread + wider)
            slope, spread = self.slope(z, t, denoise, probe)
        end = 1 + sigmas[-1] ** 2
        return log_p - 0.5 * (z.square().flatten(1).sum(1) / end + size * (LOG2PI + math.log(end)))

    def slope(self, z: Tensor, s: float, denoise: Denoise, probe: Tensor | None) -> tuple[Tensor, Tensor]:
        """z - denoise and its divergence (B,): exact, or by one probe (Hutchinson 1990)."""
        with torch.enable_grad():
            z = z.detach().requires_grad_(True)
            out = z - denoise(z, s)
            if probe is not None:
                (g,) = torch.autograd.grad(out, z, probe)
                return out.detach(), (g * probe).flatten(1).sum(1)
            each = out.flatten(1).unbind(1)
            rows = [torch.autograd.grad(o.sum(), z, retain_graph=True)[0].flatten(1)[:, i] for i, o in enumerate(each)]
        return out.detach(), torch.stack(rows).sum(0)

    # --- codes ---

    def path(self) -> list[float]:
        """From pure noise down to the least there is."""
        sigmas, low = self.ladder(self.config.path_steps), self.ladder(10_000)[-1]
        return sigmas if sigmas[-1] <= low else [*sigmas, low]

    def prior(self, n: int, given: Given | None = None) -> Tensor:
        """Noise (n, *shape)."""
        return noise.randn(n, *self.spec.shape, device=self.device)

    def decode(self, code: Tensor, given: Given | None = None) -> Tensor:
        """x (B, *shape) where Euler's steps of the flow lead from the noise `code`."""
        sigmas = self.path()
        z = code * math.sqrt(1 + sigmas[0] ** 2)
        return self.off_line(solvers.euler(self.denoiser(len(code), given), z, sigmas))

    def encode(self, batch: Batch) -> Tensor:
        """The noise (B, *shape) from which `decode` comes back to x: its steps undone one by one."""
        sigmas = self.path()
        denoise = self.denoiser(len(batch.x), {k: batch.given[k] for k in self.conditions})
        return solvers.invert(denoise, self.to_line(batch.x), sigmas, rounds=8, spread=self.spread) / math.sqrt(1 + sigmas[0] ** 2)
