"""Sums over the ranks of a data-parallel run: moments, counts, the statistics of EM, what a loss says of a whole batch.

Without torchrun these are the identity. Every rank must call them at the same point: in training, never in sampling.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def total(t: Tensor) -> Tensor:
    """The sum of `t` over all ranks, in place."""
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(t)
    return t


def gather(rows: Tensor) -> Tensor:
    """All ranks' rows, in order of rank; every rank holds equally many."""
    if not (dist.is_available() and dist.is_initialized()):
        return rows
    parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, rows.contiguous())
    return torch.cat(parts)


def own(rows: Tensor, n: int) -> Tensor:
    """This rank's n of all ranks' rows, as `gather` laid them."""
    if not (dist.is_available() and dist.is_initialized()):
        return rows
    return rows[n * dist.get_rank() : n * (dist.get_rank() + 1)]


class _Joined(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return total(x.clone())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        return joined(grad)  # a Function again, so that penalties on gradients work


def joined(x: Tensor) -> Tensor:
    """The sum of x over all ranks, and of its gradient, because every rank's loss depends on every rank's share."""
    if not (dist.is_available() and dist.is_initialized()):
        return x
    out: Tensor = _Joined.apply(x)  # type: ignore[no-untyped-call]
    return out


def together(rows: Tensor) -> Tensor:
    """As `gather`, with the gradient of what every rank makes of them: each computes one and the same loss of all."""
    if not (dist.is_available() and dist.is_initialized()):
        return rows
    n = len(rows)
    placed = rows.new_zeros(n * dist.get_world_size(), *rows.shape[1:])
    start = n * dist.get_rank()
    return joined(torch.cat([placed[:start], rows, placed[start + n :]]))
