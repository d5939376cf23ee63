"""Kinds of units of an energy model: what a layer of them does, given its input a = Wh + b.

p(v | h) ~ m(v) exp(a'v). A kind states m (the base measure), the mean and a draw of v, log A(a) = log sum_v m(v) exp(a'v) and the
biases that give independent units some means. Welling, Rosen-Zvi and Hinton 2004, Exponential family harmoniums,
https://papers.nips.cc/paper/2672-exponential-family-harmoniums-with-an-application-to-information-retrieval.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from genctl.maths import noise


class Bernoulli:
    """v in {0, 1}."""

    def mean(self, a: Tensor) -> Tensor:
        """E[v | a] (n, V)."""
        return a.sigmoid()

    def draw(self, a: Tensor) -> Tensor:
        """v ~ p(v | a) (n, V)."""
        return noise.bernoulli(a.sigmoid())

    def log_norm(self, a: Tensor) -> Tensor:
        """log A(a) (n,)."""
        return F.softplus(a).sum(-1)

    def log_measure(self, v: Tensor) -> Tensor:
        """log m(v) (n,)."""
        return v.new_zeros(len(v))

    def bias(self, mean: Tensor) -> Tensor:
        """The a at which independent units have this mean, kept off the edges (V,)."""
        p = mean.clamp(0.01, 0.99)
        return torch.log(p / (1 - p))


class Gaussian(Bernoulli):
    """v on the line, of variance 1 given h; whoever has numbers of another scale divides by their deviation first."""

    def mean(self, a: Tensor) -> Tensor:
        return a

    def draw(self, a: Tensor) -> Tensor:
        return a + noise.randn(*a.shape, device=a.device)

    def log_norm(self, a: Tensor) -> Tensor:
        return 0.5 * (a.square() + math.log(2 * math.pi)).sum(-1)

    def log_measure(self, v: Tensor) -> Tensor:
        return -0.5 * v.square().sum(-1)

    def bias(self, mean: Tensor) -> Tensor:
        return mean


@dataclass(frozen=True)
class Softmax(Bernoulli):
    """One-hots of `of` categories, one after another."""

    of: int

    def _apart(self, a: Tensor) -> Tensor:
        return a.view(*a.shape[:-1], -1, self.of)

    def mean(self, a: Tensor) -> Tensor:
        return self._apart(a).softmax(-1).flatten(-2)

    def draw(self, a: Tensor) -> Tensor:
        return F.one_hot(noise.categorical(self._apart(a)), self.of).to(a.dtype).flatten(-2)

    def log_norm(self, a: Tensor) -> Tensor:
        return self._apart(a).logsumexp(-1).sum(-1)

    def bias(self, mean: Tensor) -> Tensor:
        return mean.clamp(min=0.01 / self.of).log()


class Mixed(Bernoulli):
    """Kinds side by side: (kind, how many entries of v)."""

    def __init__(self, parts: Sequence[tuple[Bernoulli, int]]) -> None:
        self.kinds, self.sizes = [kind for kind, _ in parts], [size for _, size in parts]

    def _each(self, f: Callable[[Bernoulli, Tensor], Tensor], t: Tensor) -> list[Tensor]:
        return [f(kind, part) for kind, part in zip(self.kinds, torch.split(t, self.sizes, -1), strict=True)]

    def mean(self, a: Tensor) -> Tensor:
        return torch.cat(self._each(lambda kind, part: kind.mean(part), a), -1)

    def draw(self, a: Tensor) -> Tensor:
        return torch.cat(self._each(lambda kind, part: kind.draw(part), a), -1)

    def log_norm(self, a: Tensor) -> Tensor:
        return torch.stack(self._each(lambda kind, part: kind.log_norm(part), a)).sum(0)

    def log_measure(self, v: Tensor) -> Tensor:
        return torch.stack(self._each(lambda kind, part: kind.log_measure(part), v)).sum(0)

    def bias(self, mean: Tensor) -> Tensor:
        return torch.cat(self._each(lambda kind, part: kind.bias(part), mean), -1)


def of_blocks(blocks: Sequence[int]) -> Bernoulli:
    """The units of a table's row (`Spec.blocks`): numbers are Gaussian, one-hots categories; neighbours of one kind are one layer."""
    runs = [(k, k * len(list(same))) for k, same in itertools.groupby(blocks)]
    parts: list[tuple[Bernoulli, int]] = [(Softmax(k) if k > 1 else Gaussian(), size) for k, size in runs]
    return parts[0][0] if len(parts) == 1 else Mixed(parts)
