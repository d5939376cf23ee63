"""Recall: the share of real data that lies where samples lie (in a k-nearest-neighbour ball of a sample).

Kynkaanniemi et al. 2019, https://arxiv.org/abs/1904.06991, eq. 2.
"""

from genctl.metrics import Case, Score, _prdc

NEEDS = _prdc.NEEDS
EXTRACTOR = "best"
HIGHER = True


def measure(case: Case) -> Score:
    return _prdc.score(case, "recalled")
