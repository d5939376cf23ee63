"""Correlations: how far the dependence between the columns of a table is from that of real data; 0 the same, 2 the opposite.

The mean over pairs of columns of |r(samples) - r(real)|, r Pearson's correlation. With categories in a pair r is a matrix: of an entry e
of a one-hot with share p enters (e - p) / sqrt(p), and |r| is the Frobenius norm over the root of the degrees of freedom: Cramer's V of
two columns of categories (Cramer 1946), the correlation ratio of one of them with a number. Blind to the columns on their own: see
`marginals`. `real` is the mean |r| of real data: what samples with independent columns are off by.
"""

import torch
from torch import Tensor

from genctl.metrics import Case, Score, _columns, jackknife

NEEDS = _columns.NEEDS
EXTRACTOR = ""
HIGHER = False


def correlation(x: Tensor, column: Tensor) -> Tensor:
    """(D, D) float64 of the entries of x (n, D), that belong to these columns (D,); 0 beside what never varies."""
    x = x.double()
    mean, gap = x.mean(0), x - x.mean(0)
    alone = torch.bincount(column)[column] == 1
    spread = torch.where(alone, gap.square().mean(0), mean.clamp(min=0)).sqrt()
    z = torch.where(spread > 1e-9 * x.abs().amax(0), gap / spread.clamp(min=1e-300), 0.0)
    return z.t() @ z / len(x)


def norms(r: Tensor, column: Tensor) -> Tensor:
    """|r| of each pair of columns (pairs,) float64."""
    sizes = torch.bincount(column)
    member = torch.nn.functional.one_hot(column, len(sizes)).double()
    freedom = (sizes - 1).clamp(min=1).double()
    found = (member.t() @ r.square() @ member / torch.minimum(freedom[:, None], freedom)).sqrt()
    first, second = torch.triu_indices(len(sizes), len(sizes), offset=1)
    return found[first, second]


def measure(case: Case) -> Score:
    if why := _columns.reason_not(case, least=2):
        return Score(value=None, reason=why)
    samples, reference, real = _columns.sides(case)
    column = _columns.entries(case)
    r = correlation(reference, column)

    def gap(x: Tensor) -> float:
        return norms(correlation(x, column) - r, column).mean().item()

    pairs = norms(r, column)
    return Score(
        value=gap(samples),
        se=jackknife(lambda rows: gap(samples[rows]), len(samples), seed=case.seed),
        floor=gap(real),
        fields={"pairs": len(pairs), "real": pairs.mean().item()},
    )
