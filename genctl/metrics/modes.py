"""Modes: how many of the classes, or of the combinations of several labels, are drawn at all, by the classifier's word.

On stacked MNIST there are 1,000; the protocol of Metz et al. 2017, https://arxiv.org/abs/1611.02163, and of Srivastava et al. 2017,
https://arxiv.org/abs/1705.07761, draws 26,000 samples (`-n 26000`). `kl` is that of the classes drawn from the uniform distribution over
all, in nats; `kl_floor` that of real examples by the same classifier, as many as there are.
"""

import math

import torch
from torch import Tensor

from genctl.metrics import Case, Score

NEEDS = frozenset({"samples", "predict"})
EXTRACTOR = "classifier"
HIGHER = True


def combined(probability: Tensor) -> Tensor:
    """The class (n,) of each example: (n, K) as it is, (n, L, K) as one of K^L."""
    label = probability.argmax(-1)
    if label.ndim == 1:
        return label
    place = probability.shape[-1] ** torch.arange(label.shape[1])
    return (label * place).sum(1)


def counted(classes: Tensor, number: int) -> tuple[int, float]:
    """How many of `number` classes there are, and KL(theirs || uniform) in nats."""
    share = torch.bincount(classes, minlength=number).double() / len(classes)
    return int((share > 0).sum()), float(torch.special.xlogy(share, share * number).sum())


def measure(case: Case) -> Score:
    assert case.predict is not None
    assert case.samples is not None
    drawn, real = case.predict(case.samples), case.predict(case.reference.x)
    number = drawn.shape[-1] ** (drawn.shape[1] if drawn.ndim > 2 else 1)
    if number > 10**6:
        return Score(value=None, reason=f"{number:,} combinations of labels cannot be counted")
    found, kl = counted(combined(drawn), number)
    floor, kl_floor = counted(combined(real), number)
    fields = {"of": number, "kl": kl, "kl_floor": kl_floor if math.isfinite(kl_floor) else None}
    return Score(value=float(found), floor=float(floor), fields=fields)
