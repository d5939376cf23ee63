"""Block Gibbs sampling between two layers of binary units, tempered, and their partition function, estimated or exact.

p(v, h) ~ exp(v'Wh + b'v + c'h). At inverse temperature beta the model is bridged to independent visible units of bias `base`:
f_beta(v) = exp((1 - beta) base'v + beta b'v) prod_j (1 + exp(beta a_j)), a = W'v + c    (Salakhutdinov and Murray 2008, eq. 16)
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from genctl.maths import ais, noise


@dataclass(frozen=True)
class Layers:
    """The two layers: w (V, H), b (V,), c (H,), and the means of the visible units at beta = 0."""

    w: Tensor
    b: Tensor
    c: Tensor
    mean: Tensor

    @cached_property
    def base(self) -> Tensor:
        """The biases log p / (1 - p) of independent visible units."""
        p = self.mean.clamp(0.01, 0.99)
        return torch.log(p / (1 - p))

    def up(self, v: Tensor) -> Tensor:
        """a = W'v + c (n, H)."""
        return torch.addmm(self.c, v, self.w)

    def down(self, h: Tensor, beta: float = 1.0) -> Tensor:
        """P(v = 1 | h) (n, V)."""
        if beta == 1.0:
            return torch.addmm(self.b, h, self.w.t()).sigmoid_()
        return torch.addmm((1 - beta) * self.base + beta * self.b, h, self.w.t(), alpha=beta).sigmoid_()

    def hidden(self, a: Tensor, beta: float = 1.0) -> Tensor:
        """h ~ P(h | v), from a = up(v)."""
        return noise.bernoulli((beta * a if beta != 1.0 else a).sigmoid())

    def turn(self, v: Tensor, beta: float = 1.0) -> Tensor:
        """P(v = 1 | h) for h ~ P(h | v): one Gibbs step but for the last coin flips."""
        return self.down(self.hidden(self.up(v), beta), beta)

    def move(self, a: Tensor, beta: float = 1.0) -> tuple[Tensor, Tensor]:
        """One Gibbs step from a = up(v): the new v, and its a."""
        v = noise.bernoulli(self.down(self.hidden(a, beta), beta))
        return v, self.up(v)

    def increment(self, v: Tensor, a: Tensor, low: float, high: float) -> Tensor:
        """log f_high(v) - log f_low(v) (n,)."""
        return (high - low) * (v @ (self.b - self.base)) + (F.softplus(high * a) - F.softplus(low * a)).sum(1)

    def free_energy(self, v: Tensor, a: Tensor | None = None) -> Tensor:
        """F(v) = -b'v - sum_j log(1 + exp(a_j)) (n,): log p(v) = -F(v) - log Z."""
        return -(v @ self.b) - F.softplus(self.up(v) if a is None else a).sum(1)

    def start(self, n: int) -> Tensor:
        """n draws at beta = 0, where the visible units are independent."""
        return noise.bernoulli(torch.sigmoid(self.base).expand(n, -1))


def estimate(layers: Layers, chains: int, steps: int) -> tuple[float, float]:
    """log Z by annealed importance sampling over `steps` inverse temperatures, and its standard error."""

    def increment(state: tuple[Tensor, Tensor], low: float, high: float) -> Tensor:
        return layers.increment(*state, low, high)

    def transition(state: tuple[Tensor, Tensor], beta: float) -> tuple[Tensor, Tensor]:
        return layers.move(state[1], beta)

    v = layers.start(chains)
    log_w = ais.log_weights((v, layers.up(v)), (k / steps for k in range(steps + 1)), increment, transition)
    ratio, error = ais.log_mean(log_w)
    return ratio + float(F.softplus(layers.base.cpu().double()).sum()) + len(layers.c) * math.log(2), error


def anneal(layers: Layers, n: int, steps: int) -> Tensor:
    """n draws by population annealing."""
    v = layers.start(n)

    def increment(state: tuple[Tensor, ...], low: float, high: float) -> Tensor:
        return layers.increment(state[0], state[1], low, high)

    def transition(state: tuple[Tensor, ...], beta: float) -> tuple[Tensor, ...]:
        return layers.move(state[1], beta)

    return ais.population((v, layers.up(v)), n, steps, increment, transition)[0]


def exact(layers: Layers, chunk: int = 2**11) -> float:
    """log Z as the sum over all states of the smaller layer, in float64 on the CPU."""
    w, b, c = (t.detach().cpu().double() for t in (layers.w, layers.b, layers.c))
    if len(b) < len(c):
        w, b, c = w.T, c, b  # the sum is the same with the layers exchanged
    bits = torch.arange(len(c))
    sums = []
    for start in range(0, 2 ** len(c), chunk):
        codes = torch.arange(start, min(start + chunk, 2 ** len(c)))
        h = (codes[:, None] >> bits & 1).double()
        sums.append((h @ c + F.softplus(torch.addmm(b, h, w.T)).sum(1)).logsumexp(0))
    return float(torch.stack(sums).logsumexp(0))
