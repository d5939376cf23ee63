"""What the metrics of tables share: which data they are for, and samples beside the reference as columns."""

import torch
from torch import Tensor

from genctl.maths import blocks
from genctl.media import vector
from genctl.metrics import Case

NEEDS = frozenset({"samples", "train"})


def reason_not(case: Case, least: int = 1) -> str:
    """Why this data is no table of at least so many columns; empty if it is one."""
    if case.spec.kind != "vector":
        return "this data is no table"
    if min(len(x) for x in sides(case)) < 2:
        return "needs two rows a side"
    columns = len(vector.blocks(case.spec))
    return "" if columns >= least else f"needs at least {least} columns, this data has {columns}"


def sides(case: Case) -> tuple[Tensor, Tensor, Tensor]:
    """Samples, reference, and as many training rows as there are samples (n, D); samples with whole one-hots."""
    assert case.samples is not None
    assert case.train is not None
    samples, sizes = case.samples.flatten(1), vector.blocks(case.spec)
    return blocks.snap(samples, sizes), case.reference.x.flatten(1), case.train[: max(2, len(samples))].flatten(1)


def names(case: Case) -> list[str]:
    return vector.columns(case.spec)


def entries(case: Case) -> Tensor:
    """(D,) the column that each entry of x belongs to."""
    sizes = torch.tensor(vector.blocks(case.spec))
    return torch.arange(len(sizes)).repeat_interleave(sizes)
