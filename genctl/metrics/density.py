"""Density: how many real k-nearest-neighbour balls a sample lies in, over k; about 1 for real data.

Naeem et al. 2020, https://arxiv.org/abs/2002.09797, eq. 4.
"""

from genctl.metrics import Case, Score, _prdc

NEEDS = _prdc.NEEDS
EXTRACTOR = "best"
HIGHER = True


def measure(case: Case) -> Score:
    return _prdc.density(case)
