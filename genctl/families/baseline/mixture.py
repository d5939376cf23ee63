"""Mixture model: a few Gaussians, or Bernoulli prototypes for binary pictures, fitted by expectation maximisation.

Dempster, Laird and Rubin 1977, https://doi.org/10.1111/j.2517-6161.1977.tb01600.x; in batches Cappe and Moulines 2009, On-line
expectation-maximization, https://arxiv.org/abs/0712.4273. No gradient: the statistics are buffers that each batch moves.
"""

import math
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from genctl import contract
from genctl.config import Settings
from genctl.contract import Batch, Family, Given, Loss, Player, Progress, Spec, Stage
from genctl.errors import GenctlError
from genctl.maths import blocks, noise, ranks

LOG2PI = math.log(2 * math.pi)
MOST = 2**28  # numbers to hold in the covariances


class Mixture(Family):
    """p(x) = sum_k pi_k N(x; mu_k, Sigma_k), or with independent coins of bias mu_k for binary x.

    Of a table's row the Gaussians say the numbers; given k, each category is drawn on its own, with the probabilities in mu_k.
    """

    kinds = frozenset({"vector", "signal", "image"})
    log_prob_is = "exact"

    class Config(Settings):
        components: int = Field(8, ge=1, le=10_000)
        """Components."""
        covariance: Literal["diagonal", "full"] = "diagonal"
        """Of each Gaussian; binary pictures have none."""
        forget: float = Field(0.6, ge=0, le=1)
        """Step t takes over (1 + t)^-forget of its batch's statistics; 0: all of it, which on the whole data is plain EM."""
        floor: float = Field(1e-4, gt=0, lt=0.5)
        """Least variance of a Gaussian, as a share of the data's; least bias of a coin."""

    def __init__(self, config: Config, spec: Spec) -> None:
        super().__init__(config, spec)
        k, d = config.components, spec.size
        self.coins = spec.levels == 2
        self.full = config.covariance == "full" and not self.coins
        self.onehots = blocks.onehots(spec.blocks)
        self.line: Any = blocks.numbers(spec.blocks) if self.onehots else slice(None)  # what the Gaussians say
        wide = len(self.line) if self.onehots else d
        second = (k, wide, wide) if self.full else (k, wide)
        if math.prod(second) > MOST:
            raise GenctlError(
                "config", f"the covariances would hold {math.prod(second):,} numbers, limit {MOST:,}", "model.covariance=diagonal"
            )
        self.register_buffer("pi", torch.full((k,), 1 / k))
        self.register_buffer("mu", 0.25 + 0.5 * torch.rand(k, d))
        self.register_buffer("sigma", torch.eye(wide).expand(second).clone() if self.full else torch.ones(second))  # variances
        self.register_buffer("s0", torch.zeros(k))  # running means of r, r x and r x^2, r = P(k | x)
        self.register_buffer("s1", torch.zeros(k, d))
        self.register_buffer("s2", torch.zeros(0 if self.coins else k, *second[1:]))
        self.register_buffer("spread", torch.ones(wide))  # variance of the data
        self.register_buffer("seeds", torch.rand(k, 8))  # of the first means

    # --- the model ---

    def joint(self, x: Tensor) -> Tensor:
        """log pi_k + log p(x | k) (B, K), x (B, D)."""
        if self.coins:
            return torch.log(self.pi) + x @ torch.log(self.mu).t() + (1 - x) @ torch.log1p(-self.mu).t()
        y, mu = x[:, self.line], self.mu[:, self.line]
        if self.full:
            root = torch.linalg.cholesky(self.sigma)
            gap = torch.linalg.solve_triangular(root, (y[None] - mu[:, None]).mT, upper=False)  # (K, D, B)
            distance, log_det = gap.square().sum(1).t(), 2 * root.diagonal(dim1=1, dim2=2).log().sum(1)
        else:
            p = 1 / self.sigma
            distance = y.square() @ p.t() - 2 * (y @ (p * mu).t()) + (p * mu.square()).sum(1)
            log_det = self.sigma.log().sum(1)
        found = torch.log(self.pi) - 0.5 * (distance + log_det + mu.shape[1] * LOG2PI)
        for at in self.onehots:
            found = found + x[:, at] @ self.odds(at).t()
        return found

    def odds(self, at: slice) -> Tensor:
        """log P(category | k) (K, categories) of one column."""
        p = self.mu[:, at].clamp(min=self.config.floor)
        return torch.log(p / p.sum(1, keepdim=True))

    def log_prob(self, batch: Batch) -> Tensor:
        """log p(x) (B,)."""
        return self.joint(batch.x.flatten(1)).logsumexp(1)

    # --- training ---

    def stages(self) -> list[Stage]:
        return [Stage(name="em", players=[Player(name="em", params=[], loss=self.loss)], feed=self.begin)]

    def begin(self, batch: Batch, at: Progress) -> Batch:
        """First means: greedy k-means++ over the first batch (Arthur and Vassilvitskii 2007), far from those already chosen."""
        if at.step == 0:
            x = ranks.gather(batch.x.flatten(1))
            self.spread.copy_(x[:, self.line].var(0, correction=0).clamp(min=1e-12))
            self.mu.copy_(first_means(x, self.seeds))
            for hot in self.onehots:
                self.mu[:, hot] = self.mu[:, hot].lerp(x[:, hot].mean(0), 0.5)
            if self.coins:
                self.mu.lerp_(x.mean(0), 0.5).clamp_(self.config.floor, 1 - self.config.floor)
            else:
                wide = self.spread * len(self.pi) ** (-2 / self.spec.size)
                self.sigma.copy_(torch.diag(wide) if self.full else wide)
        return batch

    def loss(self, batch: Batch, at: Progress) -> Loss:
        """-log p(x) before the step; in training, then one step of EM."""
        x = batch.x.flatten(1)
        joint = self.joint(x)
        if self.training:
            self.expect(x, joint.softmax(1), (1 + at.step) ** -self.config.forget)
            self.maximise()
        return Loss(-joint.logsumexp(1).mean())

    def expect(self, x: Tensor, r: Tensor, take: float) -> None:
        """The E-step: running means of the statistics move towards those of the batch over all ranks."""
        y = x[:, self.line]
        second = [] if self.coins else [torch.einsum("bk,bd,be->kde", r, y, y) if self.full else r.t() @ y.square()]
        n = ranks.total(x.new_tensor(float(len(x))))
        for s, new in zip((self.s0, self.s1, self.s2), (r.sum(0), r.t() @ x, *second)):
            s.lerp_(ranks.total(new) / n, take)

    def maximise(self) -> None:
        """The M-step: the parameters that fit the statistics best within the floor. A component without members stays as it is."""
        alive = (self.s0 > 1e-8)[:, None]
        count = self.s0.clamp(min=1e-8)[:, None]
        self.pi.copy_(count[:, 0] / count.sum())
        self.mu.copy_(torch.where(alive, self.s1 / count, self.mu))
        mu = self.mu[:, self.line]
        if self.coins:
            self.mu.clamp_(self.config.floor, 1 - self.config.floor)
        elif self.full:
            found = self.s2 / count[..., None] - mu[:, :, None] * mu[:, None, :]
            least = float(self.config.floor * self.spread.mean())
            self.sigma.copy_(torch.where(alive[..., None], raised(found, least), self.sigma))
        else:
            found = (self.s2 / count - mu.square()).maximum(self.config.floor * self.spread)
            self.sigma.copy_(torch.where(alive, found, self.sigma))

    # --- sampling ---

    def sample(self, n: int, draw: contract.Draw, given: Given | None = None) -> Tensor:
        k = noise.categorical(torch.log(self.pi).expand(n, -1))
        if self.coins:
            return noise.bernoulli(self.mu[k]).reshape(n, *self.spec.shape)
        e = noise.randn(n, self.sigma.shape[1], device=self.device)
        step = torch.einsum("nde,ne->nd", torch.linalg.cholesky(self.sigma)[k], e) if self.full else self.sigma[k].sqrt() * e
        x = self.mu[k]
        x[:, self.line] += step
        for at in self.onehots:
            x[:, at] = F.one_hot(noise.categorical(self.odds(at)[k]), at.stop - at.start).float()
        x = x.reshape(n, *self.spec.shape)
        return x.clamp(0, 1) if self.spec.levels else x


def first_means(x: Tensor, seeds: Tensor) -> Tensor:
    """(K, D) rows of x, each the best of a few drawn with probability proportional to the squared distance to those before.

    seeds (K, L) uniform: the coins, the same on every rank.
    """
    chosen = [x[int(seeds[0, 0] * len(x))]]
    near = (x - chosen[0]).square().sum(1)
    for u in seeds[1:]:
        weight = near.cumsum(0)
        pick = torch.searchsorted(weight, u * weight[-1]).clamp(max=len(x) - 1)
        nearer = torch.minimum(near, torch.cdist(x[pick], x).square())  # (L, N)
        best = int(nearer.sum(1).argmin())
        chosen.append(x[pick[best]])
        near = nearer[best]
    return torch.stack(chosen)


def raised(sigma: Tensor, least: float) -> Tensor:
    """Covariances (K, D, D) with eigenvalues of at least `least`; on the CPU, where every eigensolver is at home."""
    values, vectors = torch.linalg.eigh(sigma.cpu())
    return ((vectors * values.clamp(min=least)[:, None]) @ vectors.mT).to(sigma.device)
