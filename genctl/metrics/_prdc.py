"""Precision, recall, density and coverage from k-nearest-neighbour balls in feature space.

Kynkaanniemi et al. 2019, https://arxiv.org/abs/1904.06991 (precision, recall); Naeem et al. 2020,
https://arxiv.org/abs/2002.09797, eq. 1-5 (density, coverage). k = 5.
"""

import torch
from torch import Tensor

from genctl.metrics import Case, Score, proportion

K = 5
NEEDS = frozenset({"samples", "train", "features"})
BLOCK = 2048  # rows of a distance matrix held at once


def distances(a: Tensor, b: Tensor) -> Tensor:
    """(n, m) Euclidean, without the cancellation of the matrix-product form."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist" if a.shape[1] <= 16 else "use_mm_for_euclid_dist")


def radii(x: Tensor, k: int = K) -> Tensor:
    """(n,) the distance of each example to its k-th nearest other one."""
    out = []
    for start in range(0, len(x), BLOCK):
        d = distances(x[start : start + BLOCK], x)
        rows = torch.arange(len(d))
        d[rows, start + rows] = 0.0
        out.append(d.topk(min(k + 1, len(x)), largest=False).values[:, -1])
    return torch.cat(out)


def counts(fake: Tensor, real: Tensor, k: int = K) -> dict[str, Tensor]:
    """For each fake: `precise` (is it in a real ball), `balls` (in how many); for each real: `recalled`, `covered`."""
    ball_real, ball_fake = radii(real, k), radii(fake, k)
    balls, recalled, covered = [], torch.zeros(len(real), dtype=torch.bool), torch.zeros(len(real), dtype=torch.bool)
    for start in range(0, len(fake), BLOCK):
        d = distances(fake[start : start + BLOCK], real)
        inside = d <= ball_real
        balls.append(inside.sum(1))
        covered |= inside.any(0)
        recalled |= (d <= ball_fake[start : start + BLOCK, None]).any(0)
    number = torch.cat(balls)
    return {"precise": number > 0, "balls": number, "recalled": recalled, "covered": covered}


def _counts(case: Case, side: str) -> dict[str, Tensor]:
    """Counted once for the four metrics."""
    key = ("prdc", case.extractor.sha256 if case.extractor else "", side)
    if key not in case.memo:
        case.memo[key] = counts(case.of("samples") if side == "samples" else case.floor(), case.of("reference"))
    found: dict[str, Tensor] = case.memo[key]
    return found


def score(case: Case, hits: str) -> Score:
    """The share of one count, real against real as its floor."""
    if min(len(case.of("samples")), len(case.of("reference")), len(case.floor())) <= K:
        return Score(value=None, reason=f"needs more than {K} examples a side")
    value, se = proportion(_counts(case, "samples")[hits])
    return Score(value=value, se=se, floor=proportion(_counts(case, "train")[hits])[0], fields={"k": K})


def density(case: Case) -> Score:
    """Naeem et al., eq. 4: how many real balls hold a sample, over k."""
    empty = score(case, "precise")
    if empty.value is None:
        return empty
    balls, real = _counts(case, "samples")["balls"].double() / K, _counts(case, "train")["balls"].double() / K
    return Score(value=balls.mean().item(), se=balls.std().item() / len(balls) ** 0.5, floor=real.mean().item(), fields={"k": K})
