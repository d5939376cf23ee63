"""Draws from a density known up to a constant, by a walk along its gradient.

Roberts and Tweedie 1996, Exponential convergence of Langevin distributions and their discrete approximations (MALA); the share of
moves to accept: Roberts and Rosenthal 1998, Optimal scaling of discrete approximations to Langevin diffusions.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from genctl.maths import noise

Slope = Callable[[Tensor], tuple[Tensor, Tensor]]  # x (B, D) -> log p(x) + constant (B,), and its gradient (B, D)
ACCEPTED = 0.574


def mala(slope: Slope, x: Tensor, free: Tensor, sweeps: int) -> Tensor:
    """x (B, D) after `sweeps` moves of the numbers that are `free` (B, D), each row a chain of its own.

    x' = x + e^2/2 grad log p(x) + e noise, accepted by Metropolis and Hastings. The step e of a row is fitted in the first half of
    the sweeps and fixed in the second, which alone is a Markov chain of the density.
    """
    free = free.to(x.dtype)
    log_e = x.new_full((len(x), 1), -1.0)
    p, g = slope(x)
    for k in range(sweeps):
        e = log_e.exp()
        xi = noise.randn(*x.shape, device=x.device).to(x.dtype) * free
        y = x + e * (e / 2 * g * free + xi)
        q, h = slope(y)
        back = -xi - e / 2 * (g + h) * free  # the noise of the move from y to x, for steps of e
        log_a = q - p + 0.5 * (xi.square() - back.square()).sum(1)
        log_a = torch.where(torch.isfinite(log_a), log_a, torch.full_like(log_a, -torch.inf))
        taken = noise.rand(len(x), device=x.device).log() < log_a
        x, g, p = torch.where(taken[:, None], y, x), torch.where(taken[:, None], h, g), torch.where(taken, q, p)
        if k < sweeps // 2:
            log_e = log_e + (log_a.exp().clamp(max=1)[:, None] - ACCEPTED) * 2 / (1 + k) ** 0.5
    return x
