"""Exact match and F1 of answers that are parts of a text, as SQuAD counts them: in small letters, without punctuation and articles.

Rajpurkar et al. 2016, https://arxiv.org/abs/1606.05250, section 6.1. The answer said is the likeliest span of at most 30 symbols.

f1       the mean over questions of the words that answer and truth share: 2 shared / (said + true)
cut      the share of questions whose answer lies beyond the model's length: all of them count as missed
"""

import re
import string
from collections import Counter

import torch
from torch import Tensor

from genctl.media import text
from genctl.metrics import Case, Score, proportion

NEEDS = frozenset({"predictions"})
EXTRACTOR = ""
HIGHER = True
LONGEST = 30


def plain(answer: str) -> list[str]:
    """The words that count."""
    kept = "".join(c for c in answer.lower() if c not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", kept).split()


def shared(said: str, truth: str) -> float:
    """F1 of two bags of words."""
    a, b = plain(said), plain(truth)
    if not a or not b:
        return float(a == b)
    return 2 * sum((Counter(a) & Counter(b)).values()) / (len(a) + len(b))


def spans(logits: Tensor) -> Tensor:
    """(N, 2) first and last place of the likeliest span by logits (N, 2, T)."""
    both = logits[:, 0, :, None] + logits[:, 1, None, :]
    size = both.shape[-1]
    allowed = torch.ones(size, size, dtype=torch.bool).triu() & torch.ones(size, size, dtype=torch.bool).tril(LONGEST - 1)
    best = both.masked_fill(~allowed, -torch.inf).flatten(1).argmax(1)
    return torch.stack([best // size, best % size], 1)


def measure(case: Case) -> Score:
    assert case.predictions is not None
    wanted, answer = case.spec.given[case.target], case.spec.given.get("answer")
    if wanted.shape != (2,) or answer is None:
        return Score(value=None, reason="needs questions whose answers are parts of a text")
    found = torch.cat([spans(part) for part in torch.split(case.predictions, 64)])
    said = [text.decode(x[a : b + 1], case.spec) for x, (a, b) in zip(case.reference.x, found.tolist(), strict=True)]
    truth = [text.decode(row, answer) for row in case.reference.given["answer"]]
    share, se = proportion(torch.tensor([plain(a) == plain(b) for a, b in zip(said, truth, strict=True)]))
    overlap = torch.tensor([shared(a, b) for a, b in zip(said, truth, strict=True)])
    cut = (case.reference.given[case.target][:, 1] == 0).double().mean().item()
    return Score(value=share, se=se, fields={"f1": overlap.mean().item(), "f1_se": float(overlap.std() / len(overlap) ** 0.5), "cut": cut})
