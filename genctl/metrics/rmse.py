"""RMSE of what was held out of a table, such as ratings: the root of the mean squared difference, in the units of the table.

A model is shown, of each row, what it was trained on, and tells the rest: the mean of x given its code. `train` and the split measured
are other entries of the same rows (`Batch.mask`).

bias   that of mean + bias of the row + bias of the column, by ridge regression
mf     that of these and low-rank factors, by alternating least squares (`genctl/maths/factors.py`)
mean   that of the mean of all alone
"""

import math

import torch
from torch import Tensor

from genctl.maths import factors
from genctl.media import ratings
from genctl.metrics import Case, Score, jackknife

NEEDS = frozenset({"filled"})
EXTRACTOR = ""
HIGHER = False


def measure(case: Case) -> Score:
    assert case.filled is not None
    assert case.shown is not None
    mask, seen = case.reference.mask, case.shown.mask
    if mask is None or seen is None:
        return Score(value=None, reason="nothing is missing of this data: there is nothing to fill in")
    unit = float(ratings.stars(torch.ones(()), case.spec) - ratings.stars(torch.zeros(()), case.spec))
    row = mask.nonzero()[:, 0]

    def rmse(found: Tensor, rows: Tensor | None = None) -> float:
        gap = (found - case.reference.x)[mask].double().square()
        gap = gap if rows is None else gap[torch.isin(row, rows)]
        return math.sqrt(gap.mean().item()) * unit if len(gap) else math.nan

    x, known = unit * case.shown.x.flatten(1), seen.flatten(1)
    mean = (x * known).sum() / known.sum()
    beside = {"mean": mean.expand_as(x), "bias": factors.biases(x, known), "mf": factors.factorised(x, known)}
    fields: dict[str, object] = {name: rmse(found.view_as(case.filled) / unit) for name, found in beside.items()}
    se = jackknife(lambda rows: rmse(case.filled, rows), len(mask), seed=case.seed)  # type: ignore[arg-type]
    return Score(value=rmse(case.filled), se=se, fields={**fields, "held_out": int(mask.sum())})
