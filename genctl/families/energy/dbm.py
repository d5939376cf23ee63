"""Deep Boltzmann machine: pixels and two layers of hidden units, each connected with its neighbours in both directions.

Salakhutdinov and Hinton 2009, https://proceedings.mlr.press/v5/salakhutdinov09a.html: mean field given the data, persistent chains without
it. Centring lets both layers learn at once, without pretraining (Montavon and Mueller 2012, https://doi.org/10.1007/978-3-642-35289-8_33).
The first hidden layer sees the pixels on one side and the second layer on the other, and they do not see each other: the machine is a
restricted one between the first layer and the two others together, and what is known of those (maths/gibbs.py) holds of it.
"""

import math

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from genctl import contract
from genctl.config import Settings
from genctl.contract import Batch, Given, Loss, Memory, Player, Progress, Spec, Stage
from genctl.errors import GenctlError
from genctl.families.energy._partition import Partitioned
from genctl.families.energy.rbm import SMALL, Contrast
from genctl.maths import gibbs, noise, ranks


class DBM(Partitioned):
    """p(v, h1, h2) ~ exp(h1'W(v, h2) + b'h1 + c'(v, h2)), all in {0, 1}."""

    kinds = frozenset({"vector", "image"})
    log_prob_is = "IS-k"

    class Config(Settings):
        hidden: tuple[int, int] = (500, 1000)
        """Units of the first and the second hidden layer."""
        settle: int = Field(3, ge=1, le=1000)
        """Sweeps of mean field over the hidden layers given the data."""
        gibbs: int = Field(1, ge=1, le=1000)
        """Gibbs steps that the persistent chains take before each update."""
        chains: int = Field(100, ge=1, le=100_000)
        """Persistent chains."""
        slide: float = Field(0.01, gt=0, le=1)
        """How fast the centres follow the means of the data."""
        importance: int = Field(20, ge=1, le=100_000)
        """Draws of h1 for the bound of log p(x)."""
        ais_chains: int = Field(100, ge=2, le=100_000)
        """Chains that estimate log Z."""
        ais_steps: int = Field(20_000, ge=1, le=1_000_000)
        """Inverse temperatures that each of them passes."""

    class Draw(contract.Draw):
        steps: int = Field(200, ge=1, le=1_000_000)
        """Gibbs steps from noise to a sample."""
        anneal: float = Field(0.5, ge=0, le=1)
        """The share of them over which the chains cool from independent units, so that they find every mode."""

    def __init__(self, config: Config, spec: Spec) -> None:
        super().__init__(config, spec)
        if spec.levels != 2:
            raise GenctlError("config", "family 'dbm' models binary pixels", "data.binarize=fixed")
        first, second = config.hidden
        if not 1 <= min(first, second) <= max(first, second) <= 65_536:
            raise GenctlError("config", f"model.hidden: {first} and {second} units, expected 1 to 65536 each")
        self.seen, around = spec.size, spec.size + second
        self.w = nn.Parameter(0.01 * torch.randn(first, around))
        self.b = nn.Parameter(torch.zeros(first))
        self.c = nn.Parameter(torch.zeros(around))
        self.register_buffer("mu", torch.full((first,), 0.5))  # means of h1 and of (v, h2) given the data
        self.register_buffer("lam", torch.full((around,), 0.5))
        self.memory = Memory(h=torch.zeros(config.chains, first))
        self.code = Spec(shape=(first + second,))
        self._seen: Tensor | None = None  # sums of both over the turn, for the centres

    @property
    def layers(self) -> gibbs.Layers:
        return gibbs.Layers(self.w.detach(), self.b.detach(), self.c.detach(), self.mu)

    # --- training ---

    def stages(self) -> list[Stage]:
        player = Player(name="model", params=list(self.parameters()), loss=self.contrast, after=self.follow)
        return [Stage(name="train", players=[player], feed=self.advance)]

    def advance(self, batch: Batch, at: Progress) -> Batch:
        """Starts biases and chains at the first step; moves the chains at every one."""
        if at.step == 0:
            self.begin(batch.x.flatten(1))
        layers, h = self.layers, self.memory.h
        for _ in range(self.config.gibbs):
            h = noise.bernoulli(layers.turn(h))
        self.memory.h.copy_(h)
        return batch

    def begin(self, v: Tensor) -> None:
        """Visible biases log p / (1 - p) from the first batch, unless weights were brought along."""
        if not self.c.any():
            sums = ranks.total(torch.cat([v.sum(0), v.new_full((1,), len(v))]))
            p = sums[:-1] / sums[-1]
            self.lam[: self.seen] = p
            self.c.detach()[: self.seen] = torch.logit(p, 0.01)
        self.memory.h.copy_(self.layers.start(len(self.memory.h)))

    def contrast(self, batch: Batch, at: Progress) -> Loss:
        """How much less the data's states score than the chains'; its gradient is that of the bound of -log p(v) with q(h1) p(h2 | h1).

        h1 is drawn, not a mean: in means alone a unit above and one below do not hang together given v, and W between them would die.
        """
        with torch.no_grad():
            layers, v, h_ = self.layers, batch.x.flatten(1), self.memory.h
            h = noise.bernoulli(self.settle(v, self.config.settle)[0])
            around, around_ = self.around(v, h), layers.up(h_).sigmoid_()
            gap = score(layers, h_, around_).mean() - score(layers, h, around).mean()
            seen = torch.cat([h.sum(0), around.sum(0), v.new_full((1,), len(v))])
            self._seen = seen if self._seen is None else self._seen + seen
        return Loss(Contrast.apply(self.w, self.b, self.c, gap, h, around, h_, around_, self.mu, self.lam))

    def around(self, v: Tensor, h: Tensor) -> Tensor:
        """v beside P(h2 = 1 | h1) (B, V + H2)."""
        return torch.cat([v, torch.addmm(self.c[self.seen :], h, self.w[:, self.seen :]).sigmoid()], 1)

    def settle(self, v: Tensor, sweeps: int) -> tuple[Tensor, Tensor]:
        """Means of h1 (B, H1) and h2 (B, H2) by mean field given v: q(h1) q(h2)."""
        at = self.seen
        told = torch.addmm(self.b, v, self.w[:, :at].t())  # of h1 by v
        deep, m2 = self.w[:, at:], self.lam[at:].expand(len(v), -1)
        for _ in range(sweeps):
            m1 = torch.addmm(told, m2, deep.t()).sigmoid()
            m2 = torch.addmm(self.c[at:], m1, deep).sigmoid()
        return m1, m2

    def follow(self) -> None:
        """The centres slide towards the means of the turn's data, over all its microbatches and ranks."""
        if self._seen is not None:
            seen = ranks.total(self._seen)
            h, around = (seen[:-1] / seen[-1]).split([len(self.mu), len(self.lam)])
            self.mu.lerp_(h, self.config.slide)
            self.lam.lerp_(around, self.config.slide)
            self._seen = None

    # --- the contract ---

    def sample(self, n: int, draw: Draw, given: Given | None = None) -> Tensor:
        """A population of chains cools from independent units over `anneal` of the steps and goes on at temperature 1."""
        layers, cooling = self.layers, round(draw.anneal * draw.steps)
        h = gibbs.anneal(layers, n, cooling) if cooling else layers.start(n)
        for _ in range(draw.steps - cooling):
            h = noise.bernoulli(layers.turn(h))
        return noise.bernoulli(self.decode(h))

    # --- powers ---

    def energy(self, batch: Batch) -> Tensor:
        """F(v) = -log sum_h exp(score(v, h)) (B,) by importance: q(h1) is mean field's, h2 is summed over; from above in expectation."""
        layers, v = self.layers, batch.x.flatten(1)
        m = self.settle(v, 6 * self.config.settle)[0].clamp(1e-6, 1 - 1e-6)
        plain, odds = torch.log1p(-m).sum(1), torch.logit(m)
        terms = []
        for _ in range(self.config.importance):
            h = noise.bernoulli(m)
            a = layers.up(h)
            log_p = h @ layers.b + (v * a[:, : self.seen]).sum(1) + F.softplus(a[:, self.seen :]).sum(1)
            terms.append(log_p - (h * odds).sum(1) - plain)
        return math.log(len(terms)) - torch.stack(terms).logsumexp(0)

    def log_prob(self, batch: Batch) -> Tensor:
        """-F(v) - log Z (B,): a lower bound in expectation, tight as `importance` grows, but for the error of log Z."""
        return -self.energy(batch) - self.log_partition()[0]

    def partition(self) -> tuple[float, float]:
        """log Z and its standard error (0: exact)."""
        if min(len(self.b), len(self.c)) <= SMALL:
            return gibbs.exact(self.layers), 0.0
        return gibbs.estimate(self.layers, self.config.ais_chains, self.config.ais_steps)

    def encode(self, batch: Batch) -> Tensor:
        """The means of h1 and h2 (B, H1 + H2)."""
        return torch.cat(self.settle(batch.x.flatten(1), self.config.settle), 1)

    def decode(self, code: Tensor, given: Given | None = None) -> Tensor:
        """P(v = 1 | h1) (B, *shape); of a code, h2 is not needed."""
        at, h = self.seen, code[:, : len(self.b)]
        return torch.addmm(self.c[:at], h, self.w[:, :at]).sigmoid().reshape(-1, *self.spec.shape)

    def impute(self, batch: Batch, draw: Draw) -> Tensor:
        """Gibbs steps with the observed pixels held."""
        layers, x, seen = self.layers, batch.x.flatten(1), batch.mask.flatten(1)
        held = torch.cat([seen, seen.new_zeros(len(x), len(self.c) - self.seen)], 1)
        known = torch.cat([x, x.new_zeros(held.shape[0], held.shape[1] - self.seen)], 1)
        around = torch.where(held, known, layers.hidden(layers.up(layers.start(len(x)))))
        for _ in range(draw.steps):
            h = noise.bernoulli(layers.down(around))
            around = torch.where(held, known, layers.hidden(layers.up(h)))
        return around[:, : self.seen].reshape(batch.x.shape)


def score(layers: gibbs.Layers, h: Tensor, around: Tensor) -> Tensor:
    """h'W around + b'h + c'around (n,)."""
    return (layers.up(h) * around).sum(1) + h @ layers.b
