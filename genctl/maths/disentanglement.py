"""How far each number of a code stands for one known factor of the data, and each factor for one number.

mig    the mutual information gap: Chen et al. 2018, https://arxiv.org/abs/1802.04942, eq. 6, with codes in bins
dci    disentanglement and completeness: Eastwood and Williams 2018, https://openreview.net/forum?id=By-7dz-AZ, section 2
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

BINS = 20  # of equal width, over the range of each number


def binned(codes: Tensor, bins: int = BINS) -> Tensor:
    """(N, D) numbers as the bins (N, D) they fall in."""
    low, high = codes.amin(0), codes.amax(0)
    return ((codes - low) / (high - low).clamp(min=1e-12) * bins).long().clamp(0, bins - 1)


def entropy(p: Tensor) -> Tensor:
    """Nats of a distribution along the last dimension."""
    h: Tensor = -torch.special.xlogy(p, p).sum(-1)
    return h


def information(codes: Tensor, factor: Tensor) -> Tensor:
    """(D,) nats that each number of a code (N, D), in its bin, tells of a factor (N,) of symbols."""
    rows, columns = F.one_hot(binned(codes), BINS).double(), F.one_hot(factor).double()
    joint = torch.einsum("ndb,nv->dbv", rows, columns) / len(codes)
    return entropy(joint.sum(2)) + entropy(joint.sum(1)) - entropy(joint.flatten(1))


def mig(codes: Tensor, factors: list[Tensor]) -> float:
    """The mean over factors of (most - next to most information) / entropy: 1 where one number tells it all and no other anything."""
    gaps = []
    for factor in factors:
        told = information(codes, factor).sort(descending=True).values
        whole = entropy(F.one_hot(factor).double().mean(0))
        gaps.append((told[0] - (told[1] if len(told) > 1 else 0)) / whole)
    return torch.stack(gaps).mean().item()


def dci(importance: Tensor) -> tuple[float, float]:
    """(disentanglement, completeness) from how much each number of a code counts for each factor, (D, K) and not negative.

    disentanglement    1 - H(factors | number) / log K, the mean weighted by how much a number counts; NaN for a single factor
    completeness       1 - H(numbers | factor) / log D, weighted by how much a factor draws on codes at all; NaN for a single number
    """

    def concentrated(rows: Tensor) -> float:
        total = rows.sum(1)
        if rows.shape[1] < 2 or not total.any():
            return math.nan
        each = 1 - entropy(rows / total.clamp(min=1e-12)[:, None]) / math.log(rows.shape[1])
        return ((total * each).sum() / total.sum()).item()

    return concentrated(importance.double()), concentrated(importance.double().T)
