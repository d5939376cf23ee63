"""Distance to the known truth behind made data: KL or total variation, modes found, share of high quality.

kl             KL(truth || model) over 100,000 truth draws, exact up to their sampling error, where the model's log_prob is exact;
               where that is a bound or an estimate, so is the KL, and `is` says which
kl_knn         without a log_prob: the k-nearest-neighbour estimate from samples, k = 5 (Wang et al. 2009,
               https://doi.org/10.1109/TIT.2009.2016060, eq. 5). Its bias does not vanish at 10,000: compare with kl_knn_floor
tv             total variation on discrete spaces: E_truth[(1 - model / truth)+] with an exact log_prob, else of the empirical
               distribution of the samples, whose floor is that of as many truth draws
modes          found by at least 20 in 10,000 samples within 3 sigma; on discrete spaces the distinct possible things drawn
high_quality   the share of samples within 3 sigma of a mode (the truth scores 98.9 %); where there are no modes, the share inside
               the region of highest density that holds 98.9 % of the truth; on discrete spaces the share that is possible at all
"""

import math

import torch
from torch import Tensor

from genctl.metrics import Case, Score, jackknife, proportion

NEEDS = frozenset({"samples", "log_prob", "truth"})
EXTRACTOR = ""
HIGHER = False
DRAWS, ESTIMATED, K, SHARE = 100_000, 10_000, 5, 1 - math.exp(-4.5)
BLOCK = 2000


def kl_knn(truth: Tensor, model: Tensor, k: int = K) -> float:
    """D / n sum_i log(nu_k(i) / rho_k(i)) + log(m / (n - 1)): distances to the k-th neighbour among samples and among truth."""
    n, m = len(truth), len(model)
    terms = []
    for start in range(0, n, BLOCK):
        part = truth[start : start + BLOCK]
        own = _kth(part, truth, k + 1)  # the nearest is the point itself
        other = _kth(part, model, k)
        terms.append((other.double().clamp(min=1e-30) / own.double().clamp(min=1e-30)).log())
    return (truth[0].numel() * torch.cat(terms).mean()).item() + math.log(m / (n - 1))


def _kth(a: Tensor, b: Tensor, k: int) -> Tensor:
    """The distance of each row of a to its k-th nearest in b."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist").topk(k, largest=False).values[:, -1]


def tv_of_samples(x: Tensor, log_prob: Tensor) -> float:
    """sum_x (q(x) - p(x))+ over the distinct samples, q their frequencies: the other half of |q - p| lies where none fell."""
    kinds, where, count = torch.unique(x.flatten(1), dim=0, return_inverse=True, return_counts=True)
    p = torch.zeros(len(kinds), dtype=torch.float64)
    p[where] = log_prob.double().exp()
    return float((count / len(x) - p).clamp(min=0).sum())


def near_modes(x: Tensor, modes: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """(n,) the nearest mode, and whether it is within 3 sigma."""
    gap, which = torch.cdist(x.flatten(1).double(), modes.double()).min(1)
    return which, gap <= 3 * sigma


def measure(case: Case) -> Score:
    assert case.truth is not None
    assert case.samples is not None
    truth, samples, found = case.truth, case.samples, case.likelihood
    discrete = case.spec.kind == "tokens" or case.spec.levels > 0
    n = DRAWS if found is not None and found.is_ == "exact" else ESTIMATED
    fields: dict[str, object] = {"is": found.is_ if found else "kNN" if not discrete else "samples"}
    value = se = floor = None
    if found is not None and found.of is not None:
        x = truth.draw(n, case.seed + 1)
        log_p, log_q = truth.log_prob(x).double(), found.of(x).double()
        gap = log_p - log_q
        value, se, floor = gap.mean().item(), gap.std().item() / math.sqrt(n), 0.0
        fields |= {"kl": value, "kl_se": se, "draws": n}
        if discrete:
            less = (1 - (-gap).exp()).clamp(min=0)
            value, se = less.mean().item(), less.std().item() / math.sqrt(n)
            fields |= {"tv": value, "tv_is": found.is_}
    elif discrete:
        fresh = truth.draw(len(samples), case.seed + 1)
        log_p = truth.log_prob(samples)
        value, floor = tv_of_samples(samples, log_p), tv_of_samples(fresh, truth.log_prob(fresh))
        se = jackknife(lambda rows: tv_of_samples(samples[rows], log_p[rows]), len(samples), seed=case.seed)
        fields |= {"tv": value, "tv_is": "of the samples' frequencies", "tv_floor": floor}
    else:
        m = min(len(samples), ESTIMATED)
        x, fresh = truth.draw(m, case.seed + 1).flatten(1), truth.draw(m, case.seed + 2).flatten(1)
        drawn = samples[:m].flatten(1)
        value, floor = kl_knn(x, drawn), kl_knn(x, fresh)
        halves = torch.tensor([kl_knn(a, b) for a, b in zip(x.tensor_split(5), drawn.tensor_split(5), strict=True)], dtype=torch.float64)
        se = halves.std().item() / math.sqrt(5)
        fields |= {"kl_knn": value, "kl_knn_floor": floor, "k": K, "draws": m}
    return Score(value=value, se=se, floor=floor, fields=fields | quality(case, discrete))


def quality(case: Case, discrete: bool) -> dict[str, object]:
    """Modes and the share of samples that could be the truth's."""
    truth, samples = case.truth, case.samples
    assert truth is not None
    assert samples is not None
    modes, sigma = getattr(truth, "modes", None), getattr(truth, "sigma", None)
    if isinstance(modes, Tensor) and isinstance(sigma, float) and not discrete:
        which, good = near_modes(samples, modes, sigma)
        count = torch.bincount(which[good], minlength=len(modes))
        found = int((count >= max(1, 20 * len(samples) / 10_000)).sum())
        extra: dict[str, object] = {"modes": found, "modes_of": len(modes), "rule": "within 3 sigma of a mode"}
    elif discrete:
        good = torch.isfinite(truth.log_prob(samples))
        extra = {"rule": "possible under the truth"}
        support = getattr(truth, "support", None)
        if support is not None:
            extra["modes"] = len(torch.unique(samples[good].flatten(1), dim=0))  # type: ignore[no-untyped-call]
            extra["modes_of"] = len(support() if callable(support) else support)
    else:
        edge = truth.log_prob(truth.draw(ESTIMATED, case.seed + 3)).quantile(1 - SHARE)
        good = truth.log_prob(samples).to(edge.dtype) >= edge
        extra = {"rule": "inside the densest 98.9 % of the truth"}
    share, se = proportion(good)
    return {**extra, "high_quality": share, "high_quality_se": se, "high_quality_truth": 1.0 if discrete else SHARE}
