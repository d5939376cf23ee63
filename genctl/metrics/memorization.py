"""Memorisation: how many samples stand nearer to a training item than that item's nearest fellow does (AuthPct).

Alaa et al. 2022, How Faithful is your Synthetic Data?, https://arxiv.org/abs/2102.08921, section 4.3. A sample is authentic when it
is farther from its nearest training item than that item from its own nearest other one; AuthPct is the share that is. A model that
copies scores 0. Held-out data is the floor: what a perfect model would score on this data at this n.

copies    the share of samples nearer to training data than all but 1 in 100 held-out examples are
verdict   memorized when AuthPct lies under half of the floor, beyond three standard errors; else ok. undetermined when the floor
          itself is under 10 %, as on small discrete spaces, where every sample repeats some training item
picture   the samples nearest to training items for their surroundings, each beside its neighbour: sample, item, sample, item, ...
"""

import math

import torch
from torch import Tensor

from genctl.media import writer
from genctl.metrics import Case, Score, proportion

NEEDS = frozenset({"samples", "train"})
EXTRACTOR = ""
HIGHER = True
BLOCK, PAIRS = 500, 32


def nearest(x: Tensor, items: Tensor, skip: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """(distance, index) of each row's nearest item; `skip`: the index of one item per row that does not count."""
    distances, indices = [], []
    for start in range(0, len(x), BLOCK):
        d = _distance(x[start : start + BLOCK], items)
        if skip is not None:
            d[torch.arange(len(d)), skip[start : start + BLOCK]] = math.inf
        low, where = d.min(1)
        distances.append(low)
        indices.append(where)
    return torch.cat(distances), torch.cat(indices)


def _distance(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean for floats, the number of differing symbols for tokens."""
    if a.is_floating_point():
        return torch.cdist(a, b)
    return sum((a[:, None, i] != b[None, :, i]).to(torch.float32) for i in range(a.shape[1]))  # type: ignore[return-value]


def authentic(x: Tensor, train: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(is it authentic, distance to the nearest item, its index, that item's distance to its nearest fellow)."""
    near, item = nearest(x, train)
    unique, back = torch.unique(item, return_inverse=True)
    fellow = nearest(train[unique], train, skip=unique)[0][back]
    return near > fellow, near, item, fellow


def measure(case: Case) -> Score:
    assert case.samples is not None
    assert case.train is not None
    flat = [t.flatten(1) for t in (case.samples, case.train, case.reference.x)]
    samples, train, held = [t.float() if t.is_floating_point() else t for t in flat]
    if len(train) < 2 or len(samples) < 1:
        return Score(value=None, reason="needs two training examples and a sample")
    is_new, near, item, fellow = authentic(samples, train)
    real_new, real_near, _, _ = authentic(held, train)
    (share, se), (floor, floor_se) = proportion(is_new), proportion(real_new)
    edge = real_near.quantile(0.01)
    verdict = "undetermined" if floor < 0.1 else "memorized" if share + 3 * math.hypot(se, floor_se / 2) < floor / 2 else "ok"
    order = (near / fellow.clamp(min=1e-12)).argsort()[:PAIRS]
    pairs = torch.stack([case.samples[order], case.train[item[order]]], 1).flatten(0, 1)
    path = writer(case.spec).preview(pairs, case.spec, case.folder / f"memorization-seed-{case.seed}", {"generated": "every other one"})
    return Score(
        value=100 * share,
        se=100 * se,
        floor=100 * floor,
        fields={
            "auth_pct": 100 * share,
            "copies": (near < edge).double().mean().item(),
            "verdict": verdict,
            "passed": verdict != "memorized",
            "training_items": len(train),
            "picture": str(path),
        },
    )
