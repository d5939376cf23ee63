"""Kernel Inception distance: the unbiased squared MMD of features under a cubic kernel, by subsets.

Binkowski et al. 2018, Demystifying MMD GANs, https://arxiv.org/abs/1801.01401. In the features of Inception where its weights are,
else of the classifier, else (vectors) of the columns; the stamp says which. The usual 100 subsets of 1,000.
"""

import math

import torch
from torch import Tensor

from genctl.metrics import Case, Score

NEEDS = frozenset({"samples", "train", "features"})
EXTRACTOR = "best"
HIGHER = False
SUBSETS, SIZE = 100, 1000


def mmd2(x: Tensor, y: Tensor) -> float:
    """Unbiased: E k(x, x') + E k(y, y') - 2 E k(x, y), over pairs of different examples, k(a, b) = (a.b / D + 1)^3."""

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.mT / a.shape[1] + 1).pow(3)

    def within(a: Tensor) -> Tensor:
        k = kernel(a, a)
        return (k.sum() - k.trace()) / (len(a) * (len(a) - 1))

    return (within(x) + within(y) - 2 * kernel(x, y).mean()).item()


def by_subsets(x: Tensor, y: Tensor, seed: int) -> tuple[float, float]:
    """The mean over random subsets, and its standard error: the spread of subsets of m out of n, times sqrt(m / (n - m))."""
    n = min(len(x), len(y))
    m = min(SIZE, n // 2)
    g = torch.Generator().manual_seed(seed)

    def pick(a: Tensor) -> Tensor:
        return a[torch.randperm(len(a), generator=g)[:m]].double()

    values = torch.tensor([mmd2(pick(x), pick(y)) for _ in range(SUBSETS)], dtype=torch.float64)
    return values.mean().item(), values.std().item() * math.sqrt(m / (n - m))


def measure(case: Case) -> Score:
    samples, reference, real = case.of("samples"), case.of("reference"), case.floor()
    if min(len(samples), len(reference), len(real)) < 4:
        return Score(value=None, reason="kid needs four examples a side")
    value, se = by_subsets(samples, reference, case.seed)
    floor, _ = by_subsets(real, reference, case.seed)
    return Score(
        value=value, se=se, floor=floor, fields={"subsets": SUBSETS, "subset_size": min(SIZE, min(len(samples), len(reference)) // 2)}
    )
