"""Marginals: how far the columns of a table, each on its own, are from those of real data; 0 the same, 1 nothing in common.

The mean over columns: of numbers the Kolmogorov-Smirnov distance, the largest gap between the two distribution functions; of
categories the total variation, half the sum of the gaps between shares. `worst` is the farthest column.
"""

import torch
from torch import Tensor

from genctl.maths import blocks
from genctl.metrics import Case, Score, _columns, jackknife

NEEDS = _columns.NEEDS
EXTRACTOR = ""
HIGHER = False


def kolmogorov_smirnov(x: Tensor, y: Tensor) -> Tensor:
    """sup_t |F_x(t) - F_y(t)| of each column, x (n, C) and y (m, C): (C,)."""
    a, b = x.double().t().contiguous().sort(1).values, y.double().t().contiguous().sort(1).values
    every = torch.cat([a, b], 1)
    below = [torch.searchsorted(side, every, right=True) / side.shape[1] for side in (a, b)]
    return (below[0] - below[1]).abs().amax(1).double()


def total_variation(x: Tensor, y: Tensor) -> Tensor:
    """Half the sum of |share - share| of one column's one-hots, x (n, k) and y (m, k)."""
    return 0.5 * (x.double().mean(0) - y.double().mean(0)).abs().sum()


def gaps(x: Tensor, y: Tensor, sizes: list[int]) -> Tensor:
    """The distance of each column (C,) float64."""
    found = torch.zeros(len(sizes), dtype=torch.float64)
    number = torch.tensor([k == 1 for k in sizes])
    at = blocks.numbers(sizes)
    found[number] = kolmogorov_smirnov(x[:, at], y[:, at])
    found[~number] = torch.stack([total_variation(x[:, hot], y[:, hot]) for hot in blocks.onehots(sizes)] or [torch.zeros(0)]).double()
    return found


def measure(case: Case) -> Score:
    if why := _columns.reason_not(case):
        return Score(value=None, reason=why)
    samples, reference, real = _columns.sides(case)
    sizes = list(case.spec.blocks) or [1] * case.spec.size
    found = gaps(samples, reference, sizes)
    number = torch.tensor([k == 1 for k in sizes])
    fields: dict[str, object] = {"worst": _columns.names(case)[int(found.argmax())], "worst_gap": found.max().item()}
    if number.any():
        fields["numbers"] = found[number].mean().item()
    if not number.all():
        fields["categories"] = found[~number].mean().item()
    return Score(
        value=found.mean().item(),
        se=jackknife(lambda rows: gaps(samples[rows], reference, sizes).mean().item(), len(samples), seed=case.seed),
        floor=gaps(real, reference, sizes).mean().item(),
        fields={**fields, "columns": len(sizes)},
    )
