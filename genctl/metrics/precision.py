"""Precision: the share of samples that lie where real data lies (in a k-nearest-neighbour ball of a real example).

Kynkaanniemi et al. 2019, https://arxiv.org/abs/1904.06991, eq. 2.
"""

from genctl.metrics import Case, Score, _prdc

NEEDS = _prdc.NEEDS
EXTRACTOR = "best"
HIGHER = True


def measure(case: Case) -> Score:
    return _prdc.score(case, "precise")
