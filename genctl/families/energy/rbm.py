"""Restricted Boltzmann machine: a layer of data and a layer of hidden causes, trained by contrast with its own fantasies.

Hinton 2002, contrastive divergence, https://www.cs.toronto.edu/~hinton/absps/nccd.pdf; persistent chains: Tieleman 2008,
https://www.cs.toronto.edu/~tijmen/pcd/pcd.pdf, with fast weights: Tieleman and Hinton 2009, https://www.cs.toronto.edu/~tijmen/fpcd/fpcd.pdf,
tempered in parallel: Desjardins et al. 2010, https://proceedings.mlr.press/v9/desjardins10a.html; centring: Melchior, Fischer and
Wiskott 2016, https://jmlr.org/papers/v17/14-237.html. Pixels are coins, numbers Gaussians, symbols and categories softmax units.
`log_prob` is -F(v) - log Z with log Z by annealed importance sampling (Salakhutdinov and Murray 2008), or exact when a layer is small.
"""

import itertools
from collections.abc import Iterator
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from genctl import contract
from genctl.config import Settings
from genctl.contract import Batch, Given, Loss, Memory, Player, Progress, Spec, Stage
from genctl.errors import GenctlError
from genctl.families.energy import _visible
from genctl.families.energy._partition import Partitioned
from genctl.maths import gibbs, noise, ranks, units

SMALL = 20  # units of a layer whose states are all summed over
FORGET = 0.95  # of the fast weights, a step
SHARE = 0.3  # the scale of shared weights, so that one learning rate does for them, whose gradient is a sum over all entries, too
PRIOR = 10  # observations that an entry which is often missing is taken to have had of all entries' mean


class RBM(Partitioned):
    """p(v, h) ~ m(v) exp(v'Wh + b'v + c'h), h in {0, 1}; v is x as its units read it. Grey pixels may be taken as probabilities."""

    kinds = frozenset({"vector", "image", "tokens"})
    log_prob_is = "AIS"
    partial = True

    class Config(Settings):
        hidden: int = Field(500, ge=1, le=65_536)
        """Hidden units."""
        visible: Literal["auto", "bernoulli", "gaussian", "categorical"] = "auto"
        """What x is made of: coins (grey levels are their probabilities), numbers of a learned deviation, or symbols; auto: pixels are coins."""
        negative: Literal["pcd", "fpcd", "tempering", "cd"] = "pcd"
        """Where fantasies come from: chains that live through training (pcd), driven by fast weights (fpcd) or tempered in parallel, or started at the data (cd)."""
        gibbs: int = Field(1, ge=1, le=1000)
        """Gibbs steps a fantasy takes before each update: the k of PCD-k and CD-k."""
        chains: int = Field(100, ge=1, le=100_000)
        """Persistent chains."""
        rungs: int = Field(10, ge=2, le=1000)
        """Temperatures of each chain (tempering), from independent units to the model's own."""
        fast: float = Field(0.05, ge=0, le=10)
        """The learning rate of the fast weights (fpcd), which forget a twentieth at each step."""
        centre: bool = True
        """Centred gradient: what the units do on average is taken off before their correlations are learned."""
        slide: float = Field(0.01, gt=0, le=1)
        """How fast the centres follow the means of the data."""
        shared: bool = False
        """Each symbol, level or category has weights that all entries share, beside those of each entry: what a 5 is, whatever it is given to."""
        sparsity: float = Field(0.0, ge=0, le=100)
        """Pull of each hidden unit's mean towards `active` (Hinton 2010, section 11); 0: none. Decay of weights is train.weight_decay."""
        active: float = Field(0.05, gt=0, lt=1)
        """How often a hidden unit should be on (sparsity)."""
        ais_chains: int = Field(100, ge=2, le=100_000)
        """Chains that estimate log Z."""
        ais_steps: int = Field(10_000, ge=1, le=1_000_000)
        """Inverse temperatures that each of them passes."""

    class Draw(contract.Draw):
        steps: int = Field(200, ge=1, le=1_000_000)
        """Gibbs steps from noise to a sample."""
        anneal: float = Field(0.5, ge=0, le=1)
        """The share of them over which the chains cool from independent pixels, so that they find every mode."""
        rungs: int = Field(1, ge=1, le=1000)
        """Temperatures of each chain; 1: the model's alone, more: parallel tempering."""

    def __init__(self, config: Config, spec: Spec) -> None:
        super().__init__(config, spec)
        self.reader = _visible.reader(config.visible, spec)
        size, hidden = self.reader.size, config.hidden
        self.w = nn.Parameter(0.01 * torch.randn(size, hidden))
        self.b = nn.Parameter(torch.zeros(size))
        self.c = nn.Parameter(torch.zeros(hidden))
        if config.shared and not self.reader.of:
            raise GenctlError("config", "model.shared: only categorical units share weights", "model.visible=categorical")
        self.u = nn.Parameter(0.5 * torch.randn(self.reader.of, hidden)) if config.shared else None
        self.log_sigma = nn.Parameter(torch.zeros(len(self.reader.numbers))) if self.reader.numbers else None
        self.register_buffer("mu", torch.full((size,), 0.5))  # mean of v over the data
        self.register_buffer("lam", torch.full((hidden,), 0.5))  # mean of P(h | v) over the data
        if config.negative == "fpcd":
            self.register_buffer("fast", torch.zeros(size, hidden))  # the same on all ranks, so no Memory
        self.persistent = config.negative != "cd"
        if config.negative == "tempering":
            self.memory = Memory(v=torch.zeros(config.chains, config.rungs, size))
        elif config.negative == "pcd":
            self.memory = Memory(v=torch.zeros(config.chains, size), p=torch.zeros(config.chains, hidden))  # p = P(h | v)
        elif config.negative == "fpcd":
            self.memory = Memory(v=torch.zeros(config.chains, size))
        self.code = Spec(shape=(hidden,))
        if hidden <= SMALL or (size <= SMALL and type(self.reader.units) is units.Bernoulli):
            self.log_prob_is = "exact"
        self._seen: Tensor | None = None  # sums of v and P(h | v) over the turn, for the centres

    @property
    def layers(self) -> gibbs.Layers:
        return gibbs.Layers(self.weights.detach(), self.b.detach(), self.c.detach(), self.mu, self.reader.units)

    @property
    def weights(self) -> Tensor:
        """W (V, H)."""
        return self.w if self.u is None else self.w + SHARE * self.u.repeat(len(self.w) // len(self.u), 1)

    @property
    def sigma(self) -> Tensor | None:
        """The deviations of the entries of x given h: that of each number, 1 of all else; None where there are no numbers."""
        if self.log_sigma is None:
            return None
        return torch.ones_like(self.mu).index_copy(0, torch.tensor(self.reader.numbers, device=self.device), self.log_sigma.detach().exp())

    def read(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """x as visible units (n, V); numbers in units of their deviation. What was not observed is nought, which adds nothing to anything."""
        v, sigma = self.reader.read(x), self.sigma
        v = v if sigma is None else v / sigma
        return v if mask is None else v * self.reader.spread(mask)

    def write(self, v: Tensor, mean: bool = False) -> Tensor:
        """Visible units, or their means, as x."""
        sigma = self.sigma
        return self.reader.write(v if sigma is None else v * sigma, mean)

    # --- training ---

    def stages(self) -> list[Stage]:
        player = Player(name="model", params=list(self.parameters()), loss=self.contrast, after=self.follow)
        return [Stage(name="train", players=[player], feed=self.advance)]

    def advance(self, batch: Batch, at: Progress) -> Batch:
        """Starts biases and chains at the first step; moves the chains at every one."""
        if at.step == 0:
            self.begin(batch)
        if batch.mask is not None and self.persistent:
            what = f"model.negative={self.config.negative}: chains of their own do not lack what each of these examples lacks"
            raise GenctlError("config", what, "model.negative=cd")
        layers, kind = self.layers, self.config.negative
        if kind == "tempering":
            betas, v = torch.linspace(0, 1, self.config.rungs, device=self.device), self.memory.v
            for k in range(self.config.gibbs):
                v = gibbs.temper(layers, v, betas, odd=(at.step * self.config.gibbs + k) % 2 == 1)
            self.memory.v.copy_(v)
        elif kind == "pcd":
            self.memory.v.copy_(self.fantasise(layers, self.memory.p))
        elif kind == "fpcd":
            quick = gibbs.Layers(layers.w + self.fast, layers.b, layers.c, layers.mean, layers.units)
            self.memory.v.copy_(self.fantasise(quick, quick.up(self.memory.v).sigmoid_()))
            self.quicken(layers, self.read(batch.x))
        return batch

    def begin(self, batch: Batch) -> None:
        """Visible biases of the first batch's means (Hinton 2010, section 8), unless weights were brought along; and chains."""
        if not self.b.any():
            if self.log_sigma is not None:
                y = ranks.gather(self.reader.read(batch.x))[..., self.reader.numbers]
                self.log_sigma.detach().copy_(y.std(0, correction=0).clamp(min=1e-6).log())
            self.mu.copy_(self.means(batch))
            self.b.detach().copy_(self.layers.base)
        if self.persistent:
            shape = self.memory.v.shape[:-1]
            self.memory.v.copy_(self.layers.start(shape.numel()).view(*shape, -1))
        if self.config.negative == "pcd":
            self.memory.p.copy_(self.layers.up(self.memory.v).sigmoid())

    def means(self, batch: Batch) -> Tensor:
        """The mean of each visible unit (V,) where it was observed; of what was seldom, drawn to that of all by `PRIOR` more observations."""
        v = self.read(batch.x, batch.mask)
        seen = torch.ones_like(v) if batch.mask is None else self.reader.spread(batch.mask).to(v.dtype)
        total, count = ranks.total(torch.stack([v.sum(0), seen.sum(0)]))
        if batch.mask is None:
            return total / count
        kinds = max(1, self.reader.of)
        every = total.view(-1, kinds).sum(0) / count.view(-1, kinds).sum(0)
        return (total + PRIOR * every.repeat(len(total) // kinds)) / (count + PRIOR)

    def fantasise(self, layers: gibbs.Layers, p: Tensor, seen: Tensor | None = None) -> Tensor:
        """k Gibbs steps from p = P(h | v); of units that are there alone, if `seen` (n, V) says which."""
        v = layers.fall(p) if seen is None else layers.fall(p) * seen
        for _ in range(self.config.gibbs - 1):
            p = layers.up(v).sigmoid_()
            v = layers.fall(p) if seen is None else layers.fall(p) * seen
        return v

    def quicken(self, layers: gibbs.Layers, v: Tensor) -> None:
        """The fast weights follow the gradient, and forget: what the chains just drew becomes unlikely to them for a while."""
        v_ = self.memory.v
        h, h_ = layers.up(v).sigmoid() - self.lam, layers.up(v_).sigmoid() - self.lam
        step = (v - self.mu).t() @ h / len(v) - (v_ - self.mu).t() @ h_ / len(v_)
        self.fast.mul_(FORGET).add_(ranks.total(step) / ranks.total(torch.ones(1, device=v.device)), alpha=self.config.fast)

    def contrast(self, batch: Batch, at: Progress) -> Loss:
        """F(data) - F(fantasies); its gradient is filled in closed form by `Contrast`."""
        with torch.no_grad():
            layers, v = self.layers, self.read(batch.x, batch.mask)
            a = layers.up(v)
            gap, h = layers.free_energy(v, a).mean(), a.sigmoid_()
            v_ = self.fantasies(layers, h, batch.mask)  # (chains, V) or (B, V)
            a_ = layers.up(v_)
            gap, h_ = gap - layers.free_energy(v_, a_).mean(), a_.sigmoid_()
            if self.config.negative == "pcd":
                self.memory.p.copy_(h_)  # where the next step goes on; the same in every microbatch
            full = v if batch.mask is None else torch.where(self.reader.spread(batch.mask), v, self.mu)
            seen = torch.cat([full.sum(0), h.sum(0), v.new_full((1,), len(v))])
            self._seen = seen if self._seen is None else self._seen + seen
            if self.log_sigma is not None:
                rest = 1 - (v * (v - layers.input(h))).mean(0)[..., self.reader.numbers]
            if self.config.sparsity:
                h = h - self.config.sparsity * (self.lam - self.config.active)
        mu = self.mu if batch.mask is None else torch.zeros_like(self.mu)  # what is missing has no mean to take off
        centres = (mu, self.lam) if self.config.centre else (None, None)
        total = Contrast.apply(self.weights, self.b, self.c, gap, v, h, v_, h_, *centres)
        if self.log_sigma is not None:
            # d log p / d log sigma_i = <v_i (v_i - E[v_i | h])> - 1: by parts, the model's share is 1 for any weights
            line = self.log_sigma @ rest
            total = total + line - line.detach()
        return Loss(total)

    def fantasies(self, layers: gibbs.Layers, h: Tensor, mask: Tensor | None = None) -> Tensor:
        """What the data is contrasted with; h = P(h | data), and fantasies lack what the data lacks."""
        if not self.persistent:
            return self.fantasise(layers, h, None if mask is None else self.reader.spread(mask))
        return self.memory.v[:, -1] if self.config.negative == "tempering" else self.memory.v

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
        """A population of chains cools from independent units over `anneal` of the steps and goes on at temperature 1.

        Training's own chains are no part of a checkpoint: a sample is a function of the weights, the seed and its chunk.
        """
        layers, rest = self.layers, draw.steps - round(draw.anneal * draw.steps) - self.reader.grey
        v = next(itertools.islice(gibbs.walk(layers, self.cooled(n, draw), draw.rungs), max(0, rest), None))
        return self.write(layers.turn(v) if self.reader.grey else v)

    def cooled(self, n: int, draw: Draw) -> Tensor:
        """(n, V) visible units after the first share of the steps."""
        steps = round(draw.anneal * draw.steps)
        return gibbs.anneal(self.layers, n, steps) if steps else self.layers.start(n)

    def walk(self, n: int, draw: Draw) -> Iterator[Tensor]:
        """The states of n chains at the model's own temperature, from where they have cooled."""
        return map(self.write, gibbs.walk(self.layers, self.cooled(n, draw), draw.rungs))

    # --- powers ---

    def energy(self, batch: Batch) -> Tensor:
        """The free energy F(v) (B,); of numbers, in their own units."""
        found = self.layers.free_energy(self.read(batch.x, batch.mask))
        return found if self.log_sigma is None else found + self.log_sigma.sum()

    def log_prob(self, batch: Batch) -> Tensor:
        """-F(v) - log Z (B,), of what is no grey picture taken for probabilities or numbers."""
        if batch.mask is not None:
            raise GenctlError("power", "an RBM has no likelihood of what is partly missing: log Z is another one for each example")
        if why := self.reader.no_likelihood:
            raise GenctlError("power", why, "data.binarize=fixed, or model.visible=categorical")
        return -self.energy(batch) - self.log_partition()[0]

    def partition(self) -> tuple[float, float]:
        """log Z and its standard error (0: exact)."""
        if self.log_prob_is == "exact":
            return gibbs.exact(self.layers), 0.0
        return gibbs.estimate(self.layers, self.config.ais_chains, self.config.ais_steps)

    def log_partition_above(self) -> tuple[float, float]:
        """log Z by annealing in reverse, and its standard error: rather too large, as far as its chains start at draws of the model."""
        with torch.no_grad(), noise.stream("log Z in reverse"):
            layers, chains, steps = self.layers, self.config.ais_chains, self.config.ais_steps
            return gibbs.estimate(layers, chains, steps, gibbs.anneal(layers, chains, max(1, steps // 4)))

    def encode(self, batch: Batch) -> Tensor:
        """P(h = 1 | v) (B, H), v as far as it was observed."""
        return self.layers.up(self.read(batch.x, batch.mask)).sigmoid()

    def filters(self) -> Tensor:
        """The weights of each hidden unit (H, *shape); of categories, their mean over the levels, each weighed by what it stands for."""
        w = self.weights.detach().t()
        if self.reader.of:
            w = w.view(len(w), -1, self.reader.of) @ torch.linspace(-1, 1, self.reader.of, device=w.device)
        return w.reshape(len(w), *self.spec.shape)

    def decode(self, code: Tensor, given: Given | None = None) -> Tensor:
        """E[v | h] (B, *shape); the likeliest symbol or category."""
        return self.write(self.layers.down(code), mean=True)

    def impute(self, batch: Batch, draw: Draw) -> Tensor:
        """Gibbs steps with what was observed held."""
        layers, v, seen = self.layers, self.read(batch.x), self.reader.spread(batch.mask)
        now = torch.where(seen, v, layers.start(len(v)))
        for _ in range(draw.steps):
            now = torch.where(seen, v, layers.step(layers.up(now)))
        x = self.write(layers.turn(now) if self.reader.grey else now)
        return torch.where(batch.mask, batch.x, x)


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
            db, dc = db - dw @ lam, dc - dw.t() @ mu
        return dw, db, dc, *(None,) * 7
