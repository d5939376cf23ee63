"""What ratings are predicted by without a network: biases of rows and columns, and low-rank factors; both by ridge regression.

Koren, Bell and Volinsky 2009, Matrix factorization techniques for recommender systems, https://doi.org/10.1109/MC.2009.263;
alternating least squares: Zhou et al. 2008, https://doi.org/10.1007/978-3-540-68880-8_32.
"""

import torch
from torch import Tensor


def biases(x: Tensor, seen: Tensor, damp: float = 5.0, rounds: int = 10) -> Tensor:
    """mean + row + column (N, D), from the entries of x (N, D) that were seen; a bias shrinks as if `damp` more had none."""
    seen = seen.to(x.dtype)
    mean = (x * seen).sum() / seen.sum().clamp(min=1)
    row, column = torch.zeros_like(x[:, :1]), torch.zeros_like(x[:1])
    for _ in range(rounds):
        column = ((x - mean - row) * seen).sum(0, keepdim=True) / (seen.sum(0, keepdim=True) + damp)
        row = ((x - mean - column) * seen).sum(1, keepdim=True) / (seen.sum(1, keepdim=True) + damp)
    return mean + row + column


def factorised(x: Tensor, seen: Tensor, rank: int = 20, damp: float = 0.15, rounds: int = 8, seed: int = 0) -> Tensor:
    """`biases` and P Q' of this rank (N, D), of what the biases leave; damp: the ridge on each factor, for every entry it was fitted to
    (good for ratings in stars)."""
    base = biases(x, seen)
    left = (x - base) * seen
    q = 0.1 * torch.randn(x.shape[1], rank, generator=torch.Generator().manual_seed(seed)).to(x)
    for _ in range(rounds):
        p = _ridge(left, seen, q, damp)
        q = _ridge(left.t(), seen.t(), p, damp)
    return base + p @ q.t()


def _ridge(y: Tensor, seen: Tensor, q: Tensor, damp: float) -> Tensor:
    """For each row of y (N, D) the p (N, K) that minimises sum_seen (y - q p)^2 + damp n |p|^2, n how many were seen."""
    found = y.new_zeros(len(y), q.shape[1])
    for k in range(len(y)):
        at = seen[k].nonzero()[:, 0]
        if len(at):
            part = q[at]
            square = part.t() @ part + damp * len(at) * torch.eye(q.shape[1]).to(q)
            found[k] = torch.linalg.solve(square, part.t() @ y[k, at])
    return found
