"""Noise schedules of diffusion: how much of the signal's variance, abar, is left after each of T steps; and which noise is trained."""

import itertools
import math
from collections.abc import Iterable

import torch
from torch import Tensor


def linear(steps: int) -> list[float]:
    """Betas that rise from 1e-4 to 0.02 over 1000 steps (Ho et al. 2020, section 4), steeper for fewer."""
    scale = 1000 / steps
    return _left(scale * (1e-4 + (0.02 - 1e-4) * k / max(steps - 1, 1)) for k in range(steps))


def cosine(steps: int, s: float = 0.008) -> list[float]:
    """abar falls as a squared cosine (Nichol and Dhariwal 2021, eq. 17); no beta above 0.999."""
    f = [math.cos((k / steps + s) / (1 + s) * math.pi / 2) ** 2 for k in range(steps + 1)]
    return _left(1 - b / a for a, b in itertools.pairwise(f))


def _left(betas: Iterable[float]) -> list[float]:
    return list(itertools.accumulate((1 - min(beta, 0.999) for beta in betas), float.__mul__))


SCHEDULES = {"linear": linear, "cosine": cosine}


def normal(u: Tensor) -> Tensor:
    """Standard normal numbers of uniform u in [0, 1)."""
    return math.sqrt(2) * torch.erfinv((2 * u - 1).clamp(-1 + 1e-6, 1 - 1e-6))
