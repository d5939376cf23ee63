"""Block Gibbs sampling between two layers, tempered, and their partition function, estimated or exact.

p(v, h) ~ m(v) exp(v'Wh + b'v + c'h), h binary, v of any kind (maths/units.py has m, which is 1 for binary units). At inverse
temperature beta the model is bridged to independent visible units of bias `base`:
f_beta(v) = m(v) exp((1 - beta) base'v + beta b'v) prod_j (1 + exp(beta a_j)), a = W'v + c    (Salakhutdinov and Murray 2008, eq. 16)
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial

import torch
import torch.nn.functional as F
from torch import Tensor

from genctl.maths import ais, noise
from genctl.maths.units import Bernoulli


@dataclass(frozen=True)
class Layers:
    """The two layers: w (V, H), b (V,), c (H,), the means of the visible units at beta = 0, and what kind they are."""

    w: Tensor
    b: Tensor
    c: Tensor
    mean: Tensor
    units: Bernoulli = field(default_factory=Bernoulli)

    @cached_property
    def base(self) -> Tensor:
        """The biases of independent visible units: log p / (1 - p) of binary ones."""
        return self.units.bias(self.mean)

    def up(self, v: Tensor) -> Tensor:
        """a = W'v + c (n, H)."""
        return torch.addmm(self.c, v, self.w)

    def input(self, h: Tensor, beta: float | Tensor = 1.0) -> Tensor:
        """What the visible units are told by h (n, V); `beta` may be one for each row (n, 1)."""
        if isinstance(beta, Tensor):
            return torch.lerp(self.base, torch.addmm(self.b, h, self.w.t()), beta)
        if beta == 1.0:
            return torch.addmm(self.b, h, self.w.t())
        return torch.addmm((1 - beta) * self.base + beta * self.b, h, self.w.t(), alpha=beta)

    def down(self, h: Tensor, beta: float | Tensor = 1.0) -> Tensor:
        """E[v | h] (n, V): P(v = 1 | h) of binary units."""
        return self.units.mean(self.input(h, beta))

    def hidden(self, a: Tensor, beta: float | Tensor = 1.0) -> Tensor:
        """h ~ P(h | v), from a = up(v)."""
        return noise.bernoulli((a if isinstance(beta, float) and beta == 1.0 else beta * a).sigmoid())

    def turn(self, v: Tensor, beta: float = 1.0) -> Tensor:
        """E[v | h] for h ~ P(h | v): of binary units one Gibbs step but for the last coin flips."""
        return self.down(self.hidden(self.up(v), beta), beta)

    def step(self, a: Tensor, beta: float | Tensor = 1.0) -> Tensor:
        """One Gibbs step from a = up(v) to the new v."""
        return self.units.draw(self.input(self.hidden(a, beta), beta))

    def fall(self, p: Tensor) -> Tensor:
        """The rest of a Gibbs step from p = P(h | v), which is up(v).sigmoid()."""
        return self.units.draw(self.input(noise.bernoulli(p)))

    def move(self, a: Tensor, beta: float | Tensor = 1.0) -> tuple[Tensor, Tensor]:
        """The same, and the new v's a."""
        v = self.step(a, beta)
        return v, self.up(v)

    def increment(self, v: Tensor, a: Tensor, low: float | Tensor, high: float | Tensor) -> Tensor:
        """log f_high(v) - log f_low(v) (...,) of v (..., V); low and high may be one for each row (..., 1)."""
        line = ((high - low) * (v @ (self.b - self.base))[..., None])[..., 0]
        return line + (F.softplus(high * a) - F.softplus(low * a)).sum(-1)

    def free_energy(self, v: Tensor, a: Tensor | None = None) -> Tensor:
        """F(v) = -log m(v) - b'v - sum_j log(1 + exp(a_j)) (n,): log p(v) = -F(v) - log Z."""
        return -self.units.log_measure(v) - v @ self.b - F.softplus(self.up(v) if a is None else a).sum(1)

    def start(self, n: int) -> Tensor:
        """n draws at beta = 0, where the visible units are independent."""
        return self.units.draw(self.base.expand(n, -1))


def increment(layers: Layers, state: tuple[Tensor, ...], low: float, high: float) -> Tensor:
    """log f_high - log f_low of a state (v, up(v)) on the way of annealing."""
    return layers.increment(state[0], state[1], low, high)


def transition(layers: Layers, state: tuple[Tensor, ...], beta: float) -> tuple[Tensor, ...]:
    return layers.move(state[1], beta)


def estimate(layers: Layers, chains: int, steps: int, v: Tensor | None = None) -> tuple[float, float]:
    """log Z by annealed importance sampling over `steps` inverse temperatures, and its standard error.

    From independent units the estimate of Z is unbiased, so that log Z comes out too small rather than too large. From `v`
    (chains, V), draws of the model itself, the way is walked in reverse and log Z comes out too large rather than too small, as far
    as these are draws of the model (Burda, Grosse and Salakhutdinov 2015, https://arxiv.org/abs/1412.8566, section 4).
    """
    start, sign = (layers.start(chains), 1) if v is None else (v, -1)
    betas = (k / steps for k in (range(steps + 1) if v is None else range(steps, -1, -1)))
    state: tuple[Tensor, ...] = (start, layers.up(start))
    log_w = ais.log_weights(state, betas, partial(increment, layers), partial(transition, layers))
    ratio, error = ais.log_mean(log_w)
    return sign * ratio + float(layers.units.log_norm(layers.base.cpu().double())) + len(layers.c) * math.log(2), error


def anneal(layers: Layers, n: int, steps: int) -> Tensor:
    """n draws by population annealing."""
    v = layers.start(n)
    return ais.population((v, layers.up(v)), n, steps, partial(increment, layers), partial(transition, layers))[0]


def temper(layers: Layers, v: Tensor, betas: Tensor, odd: bool) -> Tensor:
    """One step of parallel tempering: v (n, R, V) at the inverse temperatures betas (R,) each take a Gibbs step, then neighbours may swap."""
    n, rungs, _ = v.shape
    v, a = (t.view(n, rungs, -1) for t in layers.move(layers.up(v.flatten(0, 1)), betas.repeat(n)[:, None]))
    return swap(layers, v, a, betas, odd)


def swap(layers: Layers, v: Tensor, a: Tensor, betas: Tensor, odd: bool) -> Tensor:
    """The rungs 0 and 1, 2 and 3, ... or, if `odd`, 1 and 2, 3 and 4, ... change places where chance has it; a = up(v).

    The chance is min(1, f_cold(hot v) f_hot(cold v) / f_cold(cold v) f_hot(hot v)), which keeps the joint distribution (Desjardins et al.
    2010, https://proceedings.mlr.press/v9/desjardins10a.html): what the hot chains find, the cold ones get to see.
    """
    n, rungs, _ = v.shape
    low = torch.arange(int(odd), rungs - 1, 2, device=v.device)
    high = low + 1
    cold, hot = betas[high, None], betas[low, None]
    gain = layers.increment(v[:, low], a[:, low], hot, cold) - layers.increment(v[:, high], a[:, high], hot, cold)
    trade = noise.rand(n, len(low), device=v.device).log() < gain
    order = torch.arange(rungs, device=v.device).repeat(n, 1)
    order[:, low], order[:, high] = torch.where(trade, high, low), torch.where(trade, low, high)
    return v.gather(1, order[..., None].expand_as(v))


def walk(layers: Layers, v: Tensor, rungs: int = 1) -> Iterator[Tensor]:
    """The states of chains, v (n, V) first, without an end; with several rungs, those at the model's own temperature."""
    if rungs == 1:
        while True:
            yield v
            v = layers.step(layers.up(v))
    betas, every = torch.linspace(0, 1, rungs, device=v.device), v[:, None].expand(-1, rungs, -1)
    for k in itertools.count():
        yield every[:, -1]
        every = temper(layers, every, betas, odd=k % 2 == 1)


def exact(layers: Layers, chunk: int = 2**11) -> float:
    """log Z as the sum over all states of the hidden layer, or of a smaller layer of binary visible units, in float64 on the CPU."""
    w, b, c = (t.detach().cpu().double() for t in (layers.w, layers.b, layers.c))
    units = layers.units
    if len(b) < len(c) and type(units) is Bernoulli:
        w, b, c = w.T, c, b  # the sum is the same with the layers exchanged
    bits = torch.arange(len(c))
    sums = []
    for start in range(0, 2 ** len(c), chunk):
        codes = torch.arange(start, min(start + chunk, 2 ** len(c)))
        h = (codes[:, None] >> bits & 1).double()
        sums.append((h @ c + units.log_norm(torch.addmm(b, h, w.T))).logsumexp(0))
    return float(torch.stack(sums).logsumexp(0))
