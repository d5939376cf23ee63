"""Classification accuracy score: how well a classifier trained on samples alone, with the classes they were asked for, tells real data.

Ravuri and Vinyals 2019, https://arxiv.org/abs/1905.10887. The floor is the same classifier trained on as many real examples. What samples
are worth to someone who has few real examples is measured beside it: `few_real` is the accuracy of a classifier trained on ten real
examples a class, `few_and_samples` that of one trained on these and the samples together, each counting for half, and `gain` the
difference. The standard error is that of the test examples alone.
"""

import torch
from torch import Tensor

from genctl.metrics import Case, Score, proportion

NEEDS = frozenset({"samples", "labels", "train", "fit"})
EXTRACTOR = ""
HIGHER = True
FEW = 10  # real examples a class


def first(label: Tensor, count: int) -> Tensor:
    """The places of the first `count` of each class."""
    return torch.cat([(label == k).nonzero()[:count, 0] for k in torch.unique(label)])


def measure(case: Case) -> Score:
    assert case.samples is not None and case.train is not None and case.fit is not None and case.labels is not None
    x, label, train, known = case.samples, case.labels, case.train, case.train_given["label"]
    real = case.reference.given["label"]

    def right(x: Tensor, label: Tensor) -> Tensor:
        assert case.fit is not None
        return case.fit(x, label)(case.reference.x).argmax(1) == real

    few = first(known, FEW)
    again = few.repeat(-(-len(x) // len(few)))[: len(x)]  # as many as there are samples
    value, se = proportion(right(x, label))
    alone = proportion(right(train[few], known[few]))[0]
    both = proportion(right(torch.cat([train[again], x]), torch.cat([known[again], label])))[0]
    fields = {"few": FEW, "few_real": alone, "few_and_samples": both, "gain": both - alone}
    return Score(value=value, se=se, floor=proportion(right(train[: len(x)], known[: len(x)]))[0], fields=fields)
