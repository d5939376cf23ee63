"""Which examples batch i holds: a pure function of (seed, i), epoch after epoch, whatever the number of ranks."""

from functools import lru_cache

import torch
from torch import Tensor

from genctl.maths.noise import seed_of


@lru_cache(maxsize=3)
def epoch(seed: int, number: int, count: int) -> Tensor:
    """The permutation of one epoch."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed_of(seed, "order", number)))


def rows(seed: int, count: int, start: int, stop: int) -> Tensor:
    """Indices at positions start..stop of the endless row of shuffled epochs over `count` examples."""
    out = []
    while start < stop:
        number, inside = divmod(start, count)
        piece = epoch(seed, number, count)[inside : inside + stop - start]
        out.append(piece)
        start += len(piece)
    return torch.cat(out)
