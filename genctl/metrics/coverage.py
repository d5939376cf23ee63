"""Coverage: the share of real examples whose k-nearest-neighbour ball holds a sample.

Naeem et al. 2020, https://arxiv.org/abs/2002.09797, eq. 5.
"""

from genctl.metrics import Case, Score, _prdc

NEEDS = _prdc.NEEDS
EXTRACTOR = "best"
HIGHER = True


def measure(case: Case) -> Score:
    return _prdc.score(case, "covered")
