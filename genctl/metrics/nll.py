"""Negative log-likelihood of held-out data under the model: nats, bits per dimension, perplexity, bits per byte.

`is` says what kind of number it is: exact, bound (of the likelihood), IS-k (importance sampling with k draws: a bound that tightens
with k) or AIS (an estimate of the partition function, whose own error is in the standard error).

nats             per example
bits_per_dim     floats: nats / (D ln 2). Pixels of L levels have a probability, which models of a density bound by dequantisation
                 (Theis et al. 2016, https://arxiv.org/abs/1511.01844, section 3.1); continuous data has a density, whose figure moves
                 with its units. `of` says which
nats_per_token   tokens: a window of running text counts every symbol but its first, which the model has seen nothing before:
                 (log p(x) - log p(x_0)) / (T - 1). Rows that end by an end symbol count all symbols up to and with it. A model that
                 learns some symbols alone, as those of answers, is asked for these, given all that stand before
log_z_in_reverse  AIS: by how much annealing in reverse, from draws of the model, puts log Z higher: the truth lies between, as far as these
                 are its draws
perplexity       exp(nats_per_token)
bits_per_byte    the same nats over the UTF-8 bytes of the symbols counted
floor            the entropy of the truth, where it is known; real data has no likelihood of its own otherwise
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from genctl.media import text
from genctl.metrics import Case, Score

NEEDS = frozenset({"likelihood"})
EXTRACTOR = ""
HIGHER = False


def ratio(total: Tensor, weight: Tensor) -> tuple[float, float]:
    """sum total / sum weight over examples, and its standard error (the delta method for a ratio of means)."""
    t, w = total.double(), weight.double()
    r = (t.sum() / w.sum()).item()
    n = len(t)
    return r, ((t - r * w).std() / (w.mean() * math.sqrt(n))).item() if n > 1 else math.nan


def counted(x: Tensor, end: int | None) -> Tensor:
    """(n, T) True for the symbols that count: up to and with the first end symbol, or all but the first of a window of text."""
    flat = x.flatten(1)
    if end is None:
        seen = torch.ones_like(flat, dtype=torch.bool)
        seen[:, 0] = False
        return seen
    return (flat == end).cumsum(1) - (flat == end).long() == 0


def measure(case: Case) -> Score:
    found = case.likelihood
    assert found is not None
    assert found.values is not None
    n = len(found.values)
    if not torch.isfinite(found.values).all():
        bad = int((~torch.isfinite(found.values)).sum())
        return Score(value=math.inf, reason=f"{bad} of {n} examples have no finite log probability", fields={"is": found.is_})
    lost = -found.values.double()
    nats, se = ratio(lost, torch.ones(n))
    se = math.hypot(se, found.error)
    fields: dict[str, object] = {"is": found.is_, "nats": nats}
    size, levels = len(case.spec.blocks) or case.spec.size, case.spec.levels  # a category counts once
    if found.error:
        fields["error_of_log_z"] = found.error
    if found.above:
        fields["log_z_in_reverse"], fields["log_z_in_reverse_se"] = found.above
    if case.spec.kind == "tokens":
        fields |= _tokens(case, lost)
    else:
        fields["bits_per_dim"] = nats / (size * math.log(2))
        fields["bits_per_dim_se"] = se / (size * math.log(2))
        mixed = max(case.spec.blocks, default=1) > 1
        fields["of"] = (
            f"probability of {levels} levels" if levels else "density of numbers, probability of categories" if mixed else "density"
        )
    floor = -case.truth.log_prob(case.reference.x).double().mean().item() if case.truth is not None else None
    return Score(value=nats, se=se, floor=floor, fields=fields)


def per(case: Case, name: str, error: Callable[[Mapping[str, Any]], float]) -> Score:
    """One of the fields of text as a figure of its own, with its standard error."""
    if case.spec.kind != "tokens":
        return Score(value=None, reason="this data is no row of symbols: nll has its figures")
    found = measure(case)
    if name not in found.fields:
        return Score(value=found.value, reason=found.reason)
    kept = {k: found.fields[k] for k in ("is", "tokens", "convention")}
    return Score(value=found.fields[name], se=error(found.fields), fields=kept)


def _tokens(case: Case, lost: Tensor) -> dict[str, object]:
    """Per token, per byte."""
    x, found, spec = case.reference.x, case.likelihood, case.spec
    assert found is not None
    window = spec.end is None and found.learned is None and found.first is not None and x.flatten(1).shape[1] > 1
    seen = counted(x, None if window else (spec.end if spec.end is not None else -1))
    if found.learned is not None:
        seen = seen & found.learned.flatten(1).bool()
    if window:
        assert found.first is not None
        lost = lost + found.first.double()
    sizes = torch.tensor([len(piece) for piece in text.pieces(spec)])
    if spec.end is not None:
        sizes[spec.end] = 1  # as a line break would
    per_token, se = ratio(lost, seen.sum(1))
    per_byte, per_byte_se = ratio(lost, (sizes[x.flatten(1)] * seen).sum(1))
    return {
        "nats_per_token": per_token,
        "nats_per_token_se": se,
        "perplexity": math.exp(min(per_token, 700)),
        "bits_per_token": per_token / math.log(2),
        "bits_per_byte": per_byte / math.log(2),
        "bits_per_byte_se": per_byte_se / math.log(2),
        "tokens": int(seen.sum()),
        "convention": "all but the first symbol of each window"
        if window
        else "every symbol"
        if found.learned is None
        else "learned symbols",
    }
