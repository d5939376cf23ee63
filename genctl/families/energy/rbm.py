"""Restricted Boltzmann machine: a layer of binary pixels and a layer of hidden causes, trained by contrast with its own fantasies.

Hinton 2002, contrastive divergence, https://www.cs.toronto.edu/~hinton/absps/nccd.pdf; persistent chains: Tieleman 2008,
https://www.cs.toronto.edu/~tijmen/pcd/pcd.pdf; centring: Melchior, Fischer and Wiskott 2016, https://jmlr.org/papers/v17/14-237.html.
`log_prob` is -F(v) - log Z with log Z by annealed importance sampling (Salakhutdinov and Murray 2008), or exact when a layer is small.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from genctl import contract
from genctl.config import Settings
from genctl.contract import Batch, Family, Given, Loss, Memory, Player, Progress, Spec, Stage
from genctl.errors import GenctlError
from genctl.maths import gibbs, noise, ranks

SMALL = 20  # units of a layer whose states are all summed over


class RBM(Family):
    """p(v, h) ~ exp(v'Wh + b'v + c'h), v and h in {0, 1}. Grey pixels in [0, 1] are taken as probabilities."""

    kinds = frozenset({"vector", "image"})
    log_prob_is = "AIS"

    class Config(Settings):
        hidden: int = Field(500, ge=1, le=65_536)
        """Hidden units."""
        negative: Literal["pcd", "cd"] = "pcd"
        """Where fantasies come from: chains that live through training (pcd), or started at the data (cd)."""
        gibbs: int = Field(1, ge=1, le=1000)
        """Gibbs steps a fantasy takes before each update: the k of PCD-k and CD-k."""
        chains: int = Field(100, ge=1, le=100_000)
        """Persistent chains (pcd)."""
        centre: bool = True
        """Centred gradient: what the units do on average is taken off before their correlations are learned."""
        slide: float = Field(0.01, gt=0, le=1)
        """How fast the centres follow the means of the data."""
        ais_chains: int = Field(100, ge=2, le=100_000)
        """Chains that estimate log Z."""
        ais_steps: int = Field(10_000, ge=1, le=1_000_000)
        """Inverse temperatures that each of them passes."""

    class Draw(contract.Draw):
        steps: int = Field(200, ge=1, le=1_000_000)
        """Gibbs steps from noise to a sample."""
        anneal: float = Field(0.5, ge=0, le=1)
        """The share of them over which the chains cool from independent pixels, so that they find every mode."""

    def __init__(self, config: Config, spec: Spec) -> None:
        super().__init__(config, spec)
        if not spec.levels:
            raise GenctlError("config", "family 'rbm' models binary or grey values in [0, 1]; this data is continuous", "family: realnvp")
        size, hidden = spec.size, config.hidden
        self.w = nn.Parameter(0.01 * torch.randn(size, hidden))
        self.b = nn.Parameter(torch.zeros(size))
        self.c = nn.Parameter(torch.zeros(hidden))
        self.register_buffer("mu", torch.full((size,), 0.5))  # mean of v over the data
        self.register_buffer("lam", torch.full((hidden,), 0.5))  # mean of P(h | v) over the data
        if config.negative == "pcd":
            self.memory = Memory(v=torch.zeros(config.chains, size))
        self.code = Spec(shape=(hidden,))
        if min(size, hidden) <= SMALL:
            self.log_prob_is = "exact"
        self._seen: Tensor | None = None  # sums of v and P(h | v) over the turn, for the centres
        self._known: tuple[object, tuple[float, float]] | None = None  # log Z and for which weights

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
        if self.config.negative == "pcd":
            self.memory.v.copy_(self.fantasise(self.memory.v))
        return batch

    def begin(self, v: Tensor) -> None:
        """Visible biases log p / (1 - p) from the first batch (Hinton 2010, section 8), unless weights were brought along."""
        if not self.b.any():
            sums = ranks.total(torch.cat([v.sum(0), v.new_full((1,), len(v))]))
            self.mu.copy_(sums[:-1] / sums[-1])
            self.b.detach().copy_(self.layers.base)
        if self.config.negative == "pcd":
            self.memory.v.copy_(self.layers.start(len(self.memory.v)))

    def fantasise(self, v: Tensor, a: Tensor | None = None) -> Tensor:
        """k Gibbs steps from v; `a` is W'v + c if it is known."""
        layers = self.layers
        for _ in range(self.config.gibbs):
            h = layers.hidden(layers.up(v) if a is None else a)
            v, a = noise.bernoulli(layers.down(h)), None
        return v

    def contrast(self, batch: Batch, at: Progress) -> Loss:
        """F(data) - F(fantasies); its gradient is filled in closed form by `Contrast`."""
        with torch.no_grad():
            layers, v = self.layers, batch.x.flatten(1)
            a = layers.up(v)
            v_ = self.memory.v if self.config.negative == "pcd" else self.fantasise(v, a)  # (chains, V) or (B, V)
            a_ = layers.up(v_)
            gap = layers.free_energy(v, a).mean() - layers.free_energy(v_, a_).mean()
            h, h_ = a.sigmoid_(), a_.sigmoid_()
            seen = torch.cat([v.sum(0), h.sum(0), v.new_full((1,), len(v))])
            self._seen = seen if self._seen is None else self._seen + seen
        centres = (self.mu, self.lam) if self.config.centre else (None, None)
        return Loss(Contrast.apply(self.w, self.b, self.c, gap, v, h, v_, h_, *centres))

    def follow(self) -> None:
        """The centres slide towards the means of the turn's data, over all its microbatches and ranks."""
        if self._seen is not None:
            seen = ranks.total(self._seen)
            v, h = (seen[:-1] / seen[-1]).split([len(self.mu), len(self.lam)])
            self.mu.lerp_(v, self.config.slide)
            self.lam.lerp_(h, self.config.slide)
            self._seen = None

    # --- the contract ---

    def sample(self, n: int, draw: Draw, given: Given | None = None) -> Tensor:
        """A population of chains cools from independent pixels over `anneal` of the steps and goes on at temperature 1.

        Training's own chains are no part of a checkpoint: a sample is a function of the weights, the seed and its chunk.
        """
        layers, cooling = self.layers, round(draw.anneal * draw.steps)
        v = p = gibbs.anneal(layers, n, cooling) if cooling else layers.start(n)
        for _ in range(draw.steps - cooling):
            p = layers.turn(v)
            v = noise.bernoulli(p)
        return (v if self.spec.levels == 2 else p).reshape(n, *self.spec.shape)

    # --- powers ---

    def energy(self, batch: Batch) -> Tensor:
        """The free energy F(v) (B,)."""
        return self.layers.free_energy(batch.x.flatten(1))

    def log_prob(self, batch: Batch) -> Tensor:
        """-F(v) - log Z (B,), of binary v."""
        if self.spec.levels != 2:
            raise GenctlError("power", "an RBM's likelihood is one of binary pixels; this data is grey", "data.binarize=fixed")
        return -self.energy(batch) - self.log_partition()[0]

    def log_partition(self) -> tuple[float, float]:
        """log Z and its standard error (0: exact), computed once for the weights as they are."""
        key = tuple((p.data_ptr(), p._version) for p in self.parameters())
        if self._known is None or self._known[0] != key:
            with torch.no_grad(), noise.stream("log Z"):
                small = self.log_prob_is == "exact"
                found = (
                    (gibbs.exact(self.layers), 0.0) if small else gibbs.estimate(self.layers, self.config.ais_chains, self.config.ais_steps)
                )
            self._known = key, found
        return self._known[1]

    def encode(self, batch: Batch) -> Tensor:
        """P(h = 1 | v) (B, H)."""
        return self.layers.up(batch.x.flatten(1)).sigmoid()

    def decode(self, code: Tensor, given: Given | None = None) -> Tensor:
        """P(v = 1 | h) (B, *shape)."""
        return self.layers.down(code).reshape(-1, *self.spec.shape)

    def impute(self, batch: Batch, draw: Draw) -> Tensor:
        """Gibbs steps with the observed pixels held."""
        layers, x, seen = self.layers, batch.x.flatten(1), batch.mask.flatten(1)
        v = torch.where(seen, x, layers.start(len(x)))
        p = v
        for _ in range(draw.steps):
            p = layers.turn(v)
            v = torch.where(seen, x, noise.bernoulli(p))
        return (v if self.spec.levels == 2 else torch.where(seen, x, p)).reshape(batch.x.shape)


class Contrast(torch.autograd.Function):
    """mean F(v) - mean F(v_) with its gradient in closed form, from h = P(h | v) and h_ = P(h | v_).

    dW = <v_ h_'> - <v h'>, db = <v_> - <v>, dc = <h_> - <h>. With centres mu, lam the correlations are of v - mu and h - lam, and
    db, dc lose dW lam, dW' mu: the gradient of the centred machine in the coordinates of the plain one (Melchior et al., eq. 20-22).
    """

    @staticmethod
    def forward(ctx, w, b, c, gap, v, h, v_, h_, mu=None, lam=None):
        ctx.save_for_backward(v, h, v_, h_, mu, lam)
        return gap.clone()

    @staticmethod
    def backward(ctx, g):
        v, h, v_, h_, mu, lam = ctx.saved_tensors
        db, dc = v_.mean(0) - v.mean(0), h_.mean(0) - h.mean(0)
        if mu is not None:
            v, v_, h, h_ = v - mu, v_ - mu, h - lam, h_ - lam
        dw = torch.mm(v_.t(), h_ * (g / len(v_))).addmm_(v.t(), h * (-g / len(v)))
        db, dc = g * db, g * dc
        if mu is not None:
            db, dc = db - dw @ lam, dc - mu @ dw
        return dw, db, dc, *(None,) * 7
