"""The share of texts written from a source that are a reference, character by character, but for spaces around them."""

import torch

from genctl.metrics import Case, Score, _texts, proportion

NEEDS = frozenset({"samples", "pairs"})
EXTRACTOR = ""
HIGHER = True


def measure(case: Case) -> Score:
    found = _texts.read(case)
    if isinstance(found, Score):
        return found
    hits = [w in {r.strip() for r in refs} for w, refs in zip(found.written, found.references, strict=True)]
    value, se = proportion(torch.tensor(hits))
    return Score(value=value, se=se)
