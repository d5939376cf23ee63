"""Annealed importance sampling: the normaliser of an unnormalised density, by chains that walk to it from one whose normaliser is known.

Neal 2001, https://arxiv.org/abs/physics/9803008; for energy models Salakhutdinov and Murray 2008,
https://www.cs.toronto.edu/~rsalakhu/papers/dbn_ais.pdf.
"""

import itertools
import math
from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
from torch import Tensor

from genctl.maths import noise

State = TypeVar("State")


def log_weights(
    state: State,
    betas: Iterable[float],
    increment: Callable[[State, float, float], Tensor],
    transition: Callable[[State, float], State],
) -> Tensor:
    """(chains,) log importance weights, in float64 on the CPU; their mean weight estimates Z / Z_0.

    state                   exact draws from the density at the first beta
    increment(x, a, b)      log f_b(x) - log f_a(x) (chains,)
    transition(x, b)        moves x by a kernel that leaves f_b invariant
    """
    terms: list[Tensor] = []
    log_w: Tensor | None = None
    for a, b in itertools.pairwise(betas):
        terms.append(increment(state, a, b))
        state = transition(state, b)
        if len(terms) == 256:  # one trip to the CPU for many
            log_w, terms = _add(log_w, terms), []
    log_w = _add(log_w, terms) if terms else log_w
    if log_w is None:
        raise ValueError("annealing needs at least two betas")
    return log_w


def _add(log_w: Tensor | None, terms: list[Tensor]) -> Tensor:
    new = torch.stack(terms).cpu().double().sum(0)
    return new if log_w is None else log_w + new


def log_mean(log_w: Tensor) -> tuple[float, float]:
    """log of the mean weight, and its standard error by the delta method: se(w) / mean(w)."""
    n = len(log_w)
    value = float(log_w.logsumexp(0)) - math.log(n)
    relative = (log_w - value).exp()
    return value, float(relative.std() / math.sqrt(n)) if n > 1 else math.inf


def population(
    state: tuple[Tensor, ...],
    n: int,
    steps: int,
    increment: Callable[[tuple[Tensor, ...], float, float], Tensor],
    transition: Callable[[tuple[Tensor, ...], float], tuple[Tensor, ...]],
) -> tuple[Tensor, ...]:
    """n draws by population annealing (Hukushima and Iba 2003, https://doi.org/10.1063/1.1632130).

    Chains cool together from exact draws at beta = 0. Cooling alone would leave each in the mode it met first; here those that the
    colder model finds unlikely are replaced by copies of the likely, so that modes are met as often as the model has it.
    """
    log_w = state[0].new_zeros(n)
    for k in range(1, steps + 1):
        log_w = log_w + increment(state, (k - 1) / steps, k / steps)
        w = log_w.softmax(0)
        if k == steps or w.square().sum() * n > 2:  # the effective number of chains fell below a half
            points = (torch.arange(n, device=w.device) + noise.rand(1, device=w.device)) / n
            rows = torch.searchsorted(w.cumsum(0), points).clamp(max=n - 1)
            state, log_w = tuple(t[rows] for t in state), torch.zeros_like(log_w)
        state = transition(state, k / steps)
    return state
