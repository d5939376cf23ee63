"""Maximum mean discrepancy between codes and draws of their prior: a distance of distributions that needs pairs alone.

Gretton et al. 2012, https://jmlr.org/papers/v13/gretton12a.html; kernel and scales: Tolstikhin et al. 2018, https://arxiv.org/abs/1711.01558.
"""

from collections.abc import Callable

import torch
from torch import Tensor

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def kernel(a: Tensor, b: Tensor) -> Tensor:
    """(n, m) sum over scales s of C / (C + |a - b|^2), C = 2 D s: inverse multiquadratics, whose tails reach codes that lie far away."""
    gap = (a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T).clamp(min=0)
    return torch.stack([2 * a.shape[1] * s / (2 * a.shape[1] * s + gap) for s in SCALES]).sum(0)


def mmd2(z: Tensor, prior: Tensor, gather: Callable[[Tensor], Tensor] = lambda t: t) -> Tensor:
    """The unbiased estimate of MMD^2 from codes z (n, D) and as many draws of the prior; only z carries a gradient.

    gather    rows of all ranks out of one's own: the mean over ranks of what each returns is the estimate of the joined batch, and so
              is its gradient
    """
    others, priors = gather(z.detach()), gather(prior)

    def within(rows: Tensor, every: Tensor) -> Tensor:
        pairs = kernel(rows, every).sum() - len(SCALES) * len(rows)  # without those of a row with itself
        return pairs / (len(rows) * max(len(every) - 1, 1))

    own = within(z, others)
    own = 2 * own - own.detach()  # each pair of z stands there twice, once with a gradient
    return own + within(prior, priors) - 2 * kernel(z, priors).mean()
