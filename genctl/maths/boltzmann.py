"""A network of binary units any two of which may be connected: Gibbs sweeps, mean field, annealing, and exact sums over all states.

p(s) ~ exp(s'Ws / 2 + b's), s in {0, 1}^N. At inverse temperature beta the network is bridged to independent units of bias `base`:
f_beta(s) = exp((1 - beta) base's + beta (s'Ws / 2 + b's)).
"""

from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from genctl.maths import ais, noise

MOST = 20  # units whose states are all counted


@cache
def states(n: int, device: torch.device | str = "cpu") -> Tensor:
    """All of {0, 1}^n as rows (2^n, n), not to be written to; the first unit is the highest bit."""
    return (torch.arange(2**n, device=device)[:, None] >> torch.arange(n - 1, -1, -1, device=device) & 1).float()


def place(s: Tensor) -> Tensor:
    """Where rows of bits (..., n) stand among `states(n)`."""
    n = s.shape[-1]
    return (s.long() << torch.arange(n - 1, -1, -1, device=s.device)).sum(-1)


@dataclass(frozen=True)
class Machine:
    """w (N, N) symmetric without a diagonal, b (N,), the biases `base` (N,) of independent units, and the units in groups.

    blocks: units that change together, because none is connected with another of its group.
    """

    w: Tensor
    b: Tensor
    base: Tensor
    blocks: list[slice]

    def score(self, s: Tensor) -> Tensor:
        """s'Ws / 2 + b's (n,): log p(s) + log Z."""
        return (torch.addmm(2 * self.b, s, self.w) * s).sum(1) / 2

    def sweep(self, s: Tensor, beta: float = 1.0, blocks: list[slice] | None = None, held: Tensor | None = None) -> Tensor:
        """Every unit of `blocks` (None: all) in turn, drawn given all others; where `held` (n, N) is True it stays."""
        s, bias, u = s.clone(), torch.lerp(self.base, self.b, beta), noise.rand(*s.shape, device=s.device)
        for at in self.blocks if blocks is None else blocks:
            new = (u[:, at] < torch.addmm(bias[at], s, self.w[:, at], alpha=beta).sigmoid_()).to(s.dtype)
            s[:, at] = new if held is None else torch.where(held[:, at], s[:, at], new)
        return s

    def settle(self, m: Tensor, steps: int, blocks: list[slice]) -> Tensor:
        """Mean field: the means of the units of `blocks` become those given the means of all others, in turn, `steps` times over."""
        m = m.clone()
        for _ in range(steps):
            for at in blocks:
                m[:, at] = torch.addmm(self.b[at], m, self.w[:, at]).sigmoid_()
        return m

    def start(self, n: int) -> Tensor:
        """n draws at beta = 0, where the units are independent."""
        return noise.bernoulli(torch.sigmoid(self.base).expand(n, -1))

    def increment(self, s: Tensor, low: float, high: float) -> Tensor:
        """log f_high(s) - log f_low(s) (n,)."""
        return (high - low) * (self.score(s) - s @ self.base)

    def anneal(self, n: int, steps: int) -> Tensor:
        """n draws by population annealing."""
        (s,) = ais.population(
            (self.start(n),), n, steps, lambda s, low, high: self.increment(s[0], low, high), lambda s, beta: (self.sweep(s[0], beta),)
        )
        return s

    def estimate(self, chains: int, steps: int) -> tuple[float, float]:
        """log Z by annealed importance sampling over `steps` inverse temperatures, and its standard error."""
        betas = (k / steps for k in range(steps + 1))
        ratio, error = ais.log_mean(ais.log_weights(self.start(chains), betas, self.increment, self.sweep))
        return ratio + float(F.softplus(self.base.cpu().double()).sum()), error

    def table(self) -> Tensor:
        """The scores of all states (2^N,), float64 on the CPU, for at most `MOST` units."""
        w, b = self.w.cpu().double(), self.b.cpu().double()
        found = b.new_zeros(1)
        for k in range(len(b)):  # a unit more: the states so far without it, then with it
            on = b[k] + states(k).double() @ w[:k, k]
            found = torch.stack([found, found + on], 1).flatten()
        return found
