"""Spearman's rank correlation of how alike a model finds two texts (the cosine of their codes) with how alike people find them.

Reimers and Gurevych 2019, https://arxiv.org/abs/1908.10084. `pearson` is that of the values themselves; `bag_of_words` is Spearman's for the cosines
of weighted bags of words.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from genctl.contract import Batch
from genctl.metrics import Case, Score, _words

NEEDS = frozenset({"encode", "training"})
EXTRACTOR = ""
HIGHER = True


def ranks(v: Tensor) -> Tensor:
    """(n,) from 1; those of equal values are their mean."""
    _, which, count = torch.unique(v, return_inverse=True, return_counts=True)
    last = count.cumsum(0).double()
    mean: Tensor = last - (count - 1) / 2
    return mean[which]


def correlation(a: Tensor, b: Tensor) -> float:
    """Pearson's."""
    return float(torch.corrcoef(torch.stack([a.double(), b.double()]))[0, 1])


def measure(case: Case) -> Score:
    assert case.encode is not None and case.training is not None
    given, spec = case.reference.given, case.spec
    if "relatedness" not in given or "other" not in given:
        return Score(value=None, reason="needs pairs of texts, and how alike people find them")
    truth = given["relatedness"].flatten()
    near = F.cosine_similarity(case.encode(case.reference).flatten(1), case.encode(Batch(x=given["other"])).flatten(1))
    value = correlation(ranks(near), ranks(truth))
    fields = {"pearson": correlation(near, truth)}
    if not _words.reason_not(spec):
        weigh, train = _words.weigher(), case.training()
        weigh.fit(_words.texts(torch.cat([train.x, train.given["other"]]), spec))
        a, b = (weigh.transform(_words.texts(x, spec)) for x in (case.reference.x, given["other"]))
        fields["bag_of_words"] = correlation(ranks(torch.from_numpy(a.multiply(b).sum(1)).flatten()), ranks(truth))
    return Score(value=value, se=math.sqrt((1 - value**2) ** 2 / (len(truth) - 1)), fields=fields)
