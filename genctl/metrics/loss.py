"""The family's own loss on held-out data, in its own unit: for a masked language model nats per hidden symbol; `perplexity` is its exponential.

What is hidden, or which noise is added, is a function of the seed.
"""

import math

from genctl.metrics import Case, Score

NEEDS = frozenset({"loss"})
EXTRACTOR = ""
HIGHER = False


def measure(case: Case) -> Score:
    assert case.loss is not None
    value, se = case.loss
    return Score(value=value, se=se, fields={"perplexity": math.exp(min(value, 700))} if case.spec.kind == "tokens" else {})
