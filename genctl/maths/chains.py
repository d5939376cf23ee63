"""How many independent draws a few Markov chains are worth.

Vehtari et al. 2021, Rank-normalization, folding, and localization: an improved R-hat, https://doi.org/10.1214/20-BA1221, section 3.2
(without ranks: what is looked at here are indicators), with Geyer's initial positive sequence.
"""

import torch
from torch import Tensor


def autocovariance(x: Tensor) -> Tensor:
    """(T, n): of each chain (T, n) at every lag, over T."""
    steps = len(x)
    centred = x - x.mean(0)
    spectrum = torch.fft.rfft(centred, 2 * steps, 0)
    lagged: Tensor = torch.fft.irfft(spectrum * spectrum.conj(), 2 * steps, 0)
    return lagged[:steps] / steps


def effective(x: Tensor) -> float:
    """The effective sample size of all chains (T, n) together, T >= 4; at most T n, and T n where nothing varies.

    Chains that stay apart count: their means differ by more than a chain varies in itself, so that few draws they are worth.
    """
    steps, n = x.shape
    x = x.double()
    cov = autocovariance(x).mean(1)
    within = cov[0] * steps / (steps - 1)
    total = cov[0] + (x.mean(0).var() if n > 1 else 0.0)
    if not total > 0:
        return float(steps * n)
    rho = 1 - (within - cov) / total
    rho[0] = 1
    pairs = rho[: steps // 2 * 2].view(-1, 2).sum(1)  # positive and falling, but for noise
    ends = (pairs <= 0).nonzero()
    kept = pairs[: int(ends[0])] if len(ends) else pairs
    tau = -1 + 2 * torch.cummin(kept, 0).values.sum()
    return float(steps * n / tau.clamp(min=1.0))
