"""Retrieval: held-out texts are looked for among the training texts by the cosine of their codes; those of the same class are what is wanted.

The value is the mean reciprocal rank of the first that is wanted (Voorhees 1999, https://trec.nist.gov/pubs/trec8/papers/qa_report.pdf).

recall_1, recall_10   the share of questions with one that is wanted among the nearest 1 and 10
bag_of_words          the same mean for the cosines of weighted bags of words
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from genctl.metrics import Case, Score, _words

NEEDS = frozenset({"encode", "training"})
EXTRACTOR = ""
HIGHER = True


def first(near: Tensor, wanted: Tensor) -> Tensor:
    """(n,) the rank, from 1, of the nearest that is wanted, of near and wanted (n, m); infinite where none is."""
    best = near.masked_fill(~wanted, -torch.inf).amax(1, keepdim=True)
    rank = (near > best).sum(1) + 1
    return torch.where(wanted.any(1), rank.double(), torch.inf)


def measure(case: Case) -> Score:
    assert case.encode is not None and case.training is not None
    train, spec = case.training(), case.spec
    if "label" not in train.given or spec.given["label"].shape:
        return Score(value=None, reason="needs classes: texts of the same class are what is looked for")
    wanted = case.reference.given["label"][:, None] == train.given["label"][None]
    a, b = (F.normalize(case.encode(batch).flatten(1), dim=1) for batch in (case.reference, train))
    rank = first(a @ b.T, wanted)
    each = rank.reciprocal()
    fields = {f"recall_{k}": (rank <= k).double().mean().item() for k in (1, 10)}
    if not _words.reason_not(spec):
        weigh = _words.weigher()
        known = weigh.fit_transform(_words.texts(train.x, spec))
        asked = weigh.transform(_words.texts(case.reference.x, spec))
        fields["bag_of_words"] = first(_words.alike(asked, known), wanted).reciprocal().mean().item()
    return Score(value=each.mean().item(), se=float(each.std() / len(each) ** 0.5), fields=fields)
