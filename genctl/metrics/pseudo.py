"""Pseudo-likelihood of binary data: the nats of each pixel given all others, summed; what an energy says without its partition function.

-sum_i log p(x_i | x without i) = -sum_i log sigmoid(E(x with i flipped) - E(x)), over the first 100 held-out examples. It compares
models of one kind in training; a model may be sure of each pixel given the rest and still draw nothing like the data.
Besag 1975, Statistical analysis of non-lattice data, https://doi.org/10.2307/2987782.
"""

import math

import torch
import torch.nn.functional as F

from genctl.contract import Batch
from genctl.metrics import Case, Score

NEEDS = frozenset({"energy"})
EXTRACTOR = ""
HIGHER = False
MOST = 100


def measure(case: Case) -> Score:
    assert case.energy is not None
    if case.spec.levels != 2:
        return Score(value=None, reason="needs binary data")
    x = case.reference.x[:MOST]
    energy, flat, lost = case.energy(Batch(x=x)), x.flatten(1), []
    for row, own in zip(flat, energy, strict=True):
        flipped = (row - torch.eye(len(row))).abs().view(-1, *x.shape[1:])
        lost.append(-F.logsigmoid(case.energy(Batch(x=flipped)) - own).sum())
    each = torch.stack(lost).double()
    se = each.std().item() / math.sqrt(len(each)) if len(each) > 1 else None
    return Score(value=each.mean().item(), se=se, fields={"examples": len(each)})
