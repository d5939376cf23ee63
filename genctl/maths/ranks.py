"""Sums over the ranks of a data-parallel run, for what is no gradient: moments, counts, the statistics of EM.

Without torchrun these are the identity. Every rank must call them at the same point: in training, never in sampling.
"""

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
