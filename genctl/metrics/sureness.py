"""Sureness: the share of samples that the classifier is at least 90 % sure of, and how evenly they fall on the classes.

`balance` is the largest factor by which a class's share differs from uniform, either way; 1 is even, inf a class never drawn.
"""

import math

import torch
from torch import Tensor

from genctl.metrics import Case, Score, proportion

NEEDS = frozenset({"samples", "predict"})
EXTRACTOR = "classifier"
HIGHER = True
SURE = 0.9


def balance(classes: Tensor, number: int) -> float:
    """max over classes of share * K and 1 / (share * K)."""
    share = torch.bincount(classes, minlength=number).double() / len(classes) * number
    return max(share.max().item(), 1 / share.min().item()) if share.min() > 0 else math.inf


def measure(case: Case) -> Score:
    assert case.predict is not None
    assert case.samples is not None
    drawn, real = case.predict(case.samples), case.predict(case.reference.x)
    if drawn.ndim > 2:
        return Score(value=None, reason="a sample here has several labels: modes counts how they come together")
    value, se = proportion(drawn.amax(1) >= SURE)
    classes = drawn.argmax(1)
    counted = torch.bincount(classes, minlength=drawn.shape[1]).tolist()
    return Score(
        value=value,
        se=se,
        floor=proportion(real.amax(1) >= SURE)[0],
        fields={
            "sure": value,
            "balance": balance(classes, drawn.shape[1]),
            "balance_floor": balance(real.argmax(1), real.shape[1]),
            "counts": counted,
        },
    )
