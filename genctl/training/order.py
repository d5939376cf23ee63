"""Which examples batch i holds: a pure function of (seed, i), epoch after epoch, whatever the number of ranks."""

from functools import lru_cache

import torch
from torch import Tensor

from genctl.maths.noise import seed_of

LISTED = 2**22  # up to so many examples an epoch's permutation is kept; beyond, it is computed place by place
ROUNDS = 6


def rows(seed: int, count: int, start: int, stop: int) -> Tensor:
    """Indices at positions start..stop of the endless row of shuffled epochs over `count` examples."""
    out = []
    while start < stop:
        number, inside = divmod(start, count)
        last = min(count, inside + stop - start)
        if count <= LISTED:
            out.append(listed(seed, number, count)[inside:last])
        else:
            out.append(shuffled(seed, number, count, torch.arange(inside, last)))
        start += last - inside
    return torch.cat(out)


@lru_cache(maxsize=3)
def listed(seed: int, number: int, count: int) -> Tensor:
    """The permutation of one epoch."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed_of(seed, "order", number)))


def shuffled(seed: int, number: int, count: int, places: Tensor) -> Tensor:
    """The entries of one epoch's permutation of 0..count - 1 at some places, without the rest of it.

    A Feistel network is a permutation of the numbers of 2 h bits whatever its round function; what it maps beyond `count` is mapped
    again until it falls inside (Black and Rogaway 2002, https://doi.org/10.1007/3-540-45760-7_9).
    """
    half = -(-(count - 1).bit_length() // 2)
    mask = 2**half - 1
    keys = [seed_of(seed, "order", number, k) >> 32 for k in range(ROUNDS)]
    out = places.clone()
    outside = torch.ones_like(out, dtype=torch.bool)
    while bool(outside.any()):
        left, right = out[outside] >> half, out[outside] & mask
        for key in keys:
            mixed = (right + key) * 0x9E3779B1
            mixed = (mixed ^ (mixed >> 15)) * 0x85EBCA6B & 0xFFFFFFFFFFFF
            left, right = right, left ^ ((mixed ^ (mixed >> 13)) & mask)
        out[outside] = left << half | right
        outside = out >= count
    return out
