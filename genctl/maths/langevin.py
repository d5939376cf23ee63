"""Draws from a density known up to a constant, by a walk along its gradient.

Roberts and Tweedie 1996, Exponential convergence of Langevin distributions and their discrete approximations (MALA); the share of
moves to accept: Roberts and Rosenthal 1998, Optimal scaling of discrete approximations to Langevin diffusions.
"""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from genctl.maths import ais, noise

Slope = Callable[[Tensor], tuple[Tensor, Tensor]]  # x (B, D) -> log p(x) + constant (B,), and its gradient (B, D)
ACCEPTED = 0.574


def walk(
    score: Callable[[Tensor], Tensor],
    x: Tensor,
    steps: Iterable[float],
    temperature: float = 1.0,
    within: tuple[float, float] | None = None,
) -> Tensor:
    """x (B, ...) after one unadjusted move for each of the step sizes e, which need not be alike: x' = x + e^2 / (2 T) score(x) + e noise.

    score        the gradient of log p
    temperature  T = 1 is Langevin's walk, exact as e goes to 0; less of it counts the gradient more
    within       what x is cut to after each move

    For energies Welling and Teh 2011, https://www.stats.ox.ac.uk/~teh/research/compstats/WelTeh2011a.pdf (SGLD).
    """
    for e in steps:
        x = x + e * e / (2 * temperature) * score(x) + e * noise.randn(*x.shape, device=x.device).to(x.dtype)
        x = x if within is None else x.clamp(*within)
    return x


def propose(
    slope: Slope, x: Tensor, p: Tensor, g: Tensor, e: Tensor | float, free: Tensor | float = 1.0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Where a move leads from x, where `slope` says p and g: y (B, D), p and g there, and log of how likely it is to be accepted (B,).

    y = x + e^2/2 grad log p(x) + e noise, of the numbers that are `free` (B, D); e may differ by row (B, 1). Taken that often, the
    move leaves the density as it is (Metropolis and Hastings).
    """
    xi = noise.randn(*x.shape, device=x.device).to(x.dtype) * free
    y = x + e * (e / 2 * g * free + xi)
    q, h = slope(y)
    back = -xi - e / 2 * (g + h) * free  # the noise of the move from y to x, for steps of e
    log_a = q - p + 0.5 * (xi.square() - back.square()).sum(1)
    return y, q, h, torch.where(torch.isfinite(log_a), log_a, torch.full_like(log_a, -torch.inf)).clamp(max=0)


def accept(log_a: Tensor, new: tuple[Tensor, ...], old: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Rows of what is new with probability exp(log_a), else of what is old."""
    taken = noise.rand(len(log_a), device=log_a.device).log() < log_a
    return tuple(torch.where(taken.view(-1, *[1] * (a.ndim - 1)), a, b) for a, b in zip(new, old, strict=True))


def mala(slope: Slope, x: Tensor, free: Tensor, sweeps: int) -> Tensor:
    """x (B, D) after `sweeps` moves of the numbers that are `free` (B, D), each row a chain of its own.

    The step e of a row is fitted in the first half of the sweeps and fixed in the second, which alone is a Markov chain of the density.
    """
    free = free.to(x.dtype)
    log_e = x.new_full((len(x), 1), -1.0)
    at: tuple[Tensor, ...] = (x, *slope(x))
    for k in range(sweeps):
        x, p, g = at
        *there, log_a = propose(slope, x, p, g, log_e.exp(), free)
        at = accept(log_a, tuple(there), at)
        if k < sweeps // 2:
            log_e = log_e + (log_a.exp()[:, None] - ACCEPTED) * 2 / (1 + k) ** 0.5
    return at[0]


Stand = tuple[Tensor, ...]  # x (B, D), log q(x), its gradient, f(x), its gradient


class Bridge:
    """From a density q that is easy to draw from to p(x) ~ q(x) exp(f(x)), by way of q exp(beta f).

    `increment` and `move` are what `ais.log_weights` asks for; `anneal` draws. The step of the moves is fitted as they go.

    base    log q(x), normalised, and its gradient
    tilt    f(x) and its gradient
    """

    def __init__(self, base: Slope, tilt: Slope, step: float = 0.1) -> None:
        self.base, self.tilt, self.step = base, tilt, step

    def at(self, x: Tensor) -> Stand:
        return (x, *self.base(x), *self.tilt(x))

    def increment(self, at: Stand, low: float, high: float) -> Tensor:
        """log f_high(x) - log f_low(x) (B,)."""
        return (high - low) * at[3]

    def move(self, at: Stand, beta: float) -> Stand:
        """After one adjusted move at beta."""
        there: list[Stand] = []

        def slope(y: Tensor) -> tuple[Tensor, Tensor]:
            there.append(self.at(y))
            _, q, dq, f, df = there[0]
            return q + beta * f, dq + beta * df

        x, q, dq, f, df = at
        *_, log_a = propose(slope, x, q + beta * f, dq + beta * df, self.step)
        self.step *= math.exp(0.2 * (float(log_a.exp().mean()) - ACCEPTED))
        return accept(log_a, there[0], at)

    def anneal(self, x: Tensor, steps: int) -> Stand:
        """Draws of p from draws x of q, by population annealing."""
        return ais.population(self.at(x), len(x), steps, self.increment, self.move)
