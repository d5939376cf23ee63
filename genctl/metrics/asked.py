"""The share of samples that a classifier takes for the class that they were asked for; its floor is the share of real examples it gets right.

For models conditional on a class, which are asked for the classes in turn. `worst` is the share of the class that fares worst.
"""

import torch

from genctl.metrics import Case, Score, proportion

NEEDS = frozenset({"samples", "labels", "predict"})
EXTRACTOR = "classifier"
HIGHER = True


def measure(case: Case) -> Score:
    assert case.samples is not None and case.labels is not None and case.predict is not None
    if case.reference.given["label"].ndim != 1:
        return Score(value=None, reason="needs one class an example")
    right = case.predict(case.samples).argmax(-1) == case.labels
    floor = (case.predict(case.reference.x).argmax(-1) == case.reference.given["label"]).double().mean().item()
    value, se = proportion(right)
    shares = {int(k): right[case.labels == k].double().mean().item() for k in torch.unique(case.labels)}
    worst = min(shares, key=lambda k: shares[k])
    return Score(value=value, se=se, floor=floor, fields={"worst": shares[worst], "worst_class": worst})
