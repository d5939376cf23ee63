"""Train on synthetic, test on real: how well a column of real rows is told from the others by forests grown on samples alone.

Esteban, Hyland and Raetsch 2017, https://arxiv.org/abs/1706.02633. Every column of categories is a target in turn, by
accuracy; where all are numbers, each of them (the first 32), by R^2 = 1 - squared error / variance. The floor is the same forests grown
on as many real training rows. The standard error is that of the test rows alone.

chance    what knowing nothing scores: the share of the commonest category, 0 for R^2
"""

from typing import Any

import torch
from torch import Tensor

from genctl.maths import blocks
from genctl.media import vector
from genctl.metrics import Case, Score, _columns

NEEDS = _columns.NEEDS
EXTRACTOR = ""
HIGHER = True
TREES, TARGETS = 100, 32


def gains(train: Tensor, test: Tensor, sizes: list[int], target: int, seed: int) -> Tensor:
    """(n,) of each test row, in the mean accuracy or R^2: is the category right; 1 - squared error / variance."""
    from sklearn import ensemble

    category = sizes[target] > 1
    start = sum(sizes[:target])
    own = torch.zeros(sum(sizes), dtype=torch.bool)
    own[start : start + sizes[target]] = True
    forest: Any = (ensemble.RandomForestClassifier if category else ensemble.RandomForestRegressor)(
        TREES, max_features="sqrt", random_state=seed % 2**32
    )
    y, truth = (blocks.fold(x, sizes)[:, target] for x in (train, test))
    said = torch.from_numpy(forest.fit(train[:, ~own].numpy(), y.numpy()).predict(test[:, ~own].numpy()))
    if category:
        return (said == truth).double()
    return 1 - (said.double() - truth.double()).square() / truth.double().var(correction=0)


def measure(case: Case) -> Score:
    if why := _columns.reason_not(case, least=2):
        return Score(value=None, reason=why)
    try:
        import sklearn  # noqa: F401
    except ImportError:
        return Score(value=None, reason="needs the 'digits' extra (scikit-learn): pip install 'genctl[digits]'")
    samples, reference, _ = _columns.sides(case)
    assert case.train is not None
    sizes, train = vector.blocks(case.spec), case.train.flatten(1)
    n = min(len(samples), len(train))
    table = blocks.fold(reference, sizes)
    categories = [i for i, k in enumerate(sizes) if k > 1]
    targets = categories or [i for i in range(len(sizes)) if table[:, i].var() > 0][:TARGETS]
    if not targets:
        return Score(value=None, reason="no column of the reference varies")

    def mean(rows: Tensor) -> Tensor:
        return torch.stack([gains(rows[:n], reference, sizes, i, case.seed) for i in targets]).mean(0)

    found = mean(samples)
    commonest = [(table[:, i] == table[:, i].mode().values).double().mean().item() for i in categories]
    return Score(
        value=found.mean().item(),
        se=found.std().item() / len(found) ** 0.5,
        floor=mean(train).mean().item(),
        fields={
            "of": "accuracy" if categories else "R^2",
            "chance": sum(commonest) / len(commonest) if commonest else 0.0,
            "targets": len(targets),
            "grown_on": n,
        },
    )
