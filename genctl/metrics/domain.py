"""The share of translated pictures that a classifier of the two kinds takes for the kind they were translated to.

For models that learned from unpaired pictures. The classifier is trained on training pictures of both kinds; `right` is its accuracy on
held-out ones, and `copy` the share of sources, left as they are, that it takes for their counterparts: what doing nothing scores.
"""

import torch

from genctl.metrics import Case, Score, proportion

NEEDS = frozenset({"samples", "pairs", "train", "fit"})
EXTRACTOR = ""
HIGHER = True


def measure(case: Case) -> Score:
    assert case.samples is not None and case.pairs is not None and case.train is not None and case.fit is not None
    other, known = case.pairs.given.get("other"), case.train_given.get("other")
    if other is None or known is None or other.shape[1:] != case.samples.shape[1:]:
        return Score(value=None, reason="needs a model from pictures 'other' to pictures of the same shape")
    x = torch.cat([case.train, known])
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(case.seed))
    label = (torch.arange(len(x)) < len(case.train)).long()
    predict = case.fit(x[order], label[order])

    def taken(pictures: torch.Tensor) -> torch.Tensor:
        return predict(pictures).argmax(-1) == 1

    share, se = proportion(taken(case.samples))
    right = torch.cat([taken(case.pairs.x), ~taken(other)]).double().mean().item()
    return Score(value=share, se=se, fields={"right": right, "copy": taken(other).double().mean().item()})
