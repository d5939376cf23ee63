"""Mutual information gap: how far each known factor of the data stands in one number of the code, and in no other.

The gap is that of Chen et al. 2018, https://arxiv.org/abs/1802.04942, eq. 6. Beside it disentanglement (a number stands for one factor),
completeness (a factor stands in one number) and informativeness, of Eastwood and Williams 2018,
https://openreview.net/forum?id=By-7dz-AZ, section 2: what counts for a factor is read off a random forest, one of the two ways of the
paper; informativeness is its accuracy on examples that it was not fitted on.

Factors are the symbols that stand beside x one each: the class, the size, the place. Where one is known, nothing says how far it is kept
apart from others. The standard error is that of leaving out a tenth of the examples in turn.
"""

import math
from typing import Any

import torch
from torch import Tensor

from genctl.maths import disentanglement
from genctl.metrics import Case, Score, jackknife

NEEDS = frozenset({"codes"})
EXTRACTOR = ""
HIGHER = True
MOST, LEAST = 10_000, 20  # examples


def known(case: Case) -> dict[str, Tensor]:
    """Factor -> (n,) symbols, of those that vary."""
    given, spec = case.reference.given, case.spec.given
    return {k: v for k, v in given.items() if spec[k].vocab and not spec[k].shape and len(torch.unique(v)) > 1}


def forests(codes: Tensor, factors: list[Tensor]) -> dict[str, float]:
    """Disentanglement, completeness and informativeness of codes (n, D): forests are fitted on one half and asked of the other."""
    from sklearn.ensemble import RandomForestClassifier

    fit, test = torch.arange(len(codes)).tensor_split(2)
    importance, right = [], []
    for factor in factors:
        forest = RandomForestClassifier(25, max_features=None, random_state=0).fit(codes[fit].numpy(), factor[fit].numpy())
        importance.append(torch.from_numpy(forest.feature_importances_))
        right.append(float(forest.score(codes[test].numpy(), factor[test].numpy())))
    apart, whole = disentanglement.dci(torch.stack(importance, 1))
    found = {"disentanglement": apart, "completeness": whole, "informativeness": sum(right) / len(right)}
    return {k: v for k, v in found.items() if not math.isnan(v)}


def measure(case: Case) -> Score:
    assert case.codes is not None
    factors = known(case)
    if not factors or len(case.codes) < LEAST:
        return Score(value=None, reason=f"needs {LEAST} examples or more with a symbol beside them that varies: a class, a size, a place")
    if not case.codes.is_floating_point():
        return Score(value=None, reason="the codes are symbols: none of them is a number that could stand for a factor")
    try:
        import sklearn  # noqa: F401
    except ImportError:
        return Score(value=None, reason="needs the 'digits' extra (scikit-learn): pip install 'genctl[digits]'")
    order = torch.randperm(len(case.codes), generator=torch.Generator().manual_seed(case.seed))[:MOST]
    codes, values = case.codes.flatten(1).float()[order], [v[order] for v in factors.values()]

    def gap(rows: Tensor) -> float:
        return disentanglement.mig(codes[rows], [v[rows] for v in values])

    fields: dict[str, Any] = {"of": list(factors), **forests(codes, values), "n_fit": len(codes) // 2}
    return Score(value=gap(torch.arange(len(codes))), se=jackknife(gap, len(codes)), fields=fields)
