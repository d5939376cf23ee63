"""The parts of a table's row: numbers, and one-hots of categories (`Spec.blocks`)."""

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def numbers(blocks: Sequence[int]) -> list[int]:
    """Where in x the numbers stand."""
    return [start for start, k in zip(itertools.accumulate(blocks, initial=0), blocks, strict=False) if k == 1]


def onehots(blocks: Sequence[int]) -> list[slice]:
    """Where in x the one-hots stand."""
    return [slice(start, start + k) for start, k in zip(itertools.accumulate(blocks, initial=0), blocks, strict=False) if k > 1]


def snap(x: Tensor, blocks: Sequence[int]) -> Tensor:
    """x (B, D) with each one-hot fallen on its largest entry; numbers stay as they are."""
    found = onehots(blocks)
    if found:
        x = x.clone()
        for at in found:
            x[:, at] = F.one_hot(x[:, at].argmax(1), at.stop - at.start).to(x.dtype)
    return x


def soften(x: Tensor, blocks: Sequence[int], u: Tensor | float) -> Tensor:
    """x (B, D) with u in [0, 1) added to the entries of its one-hots: a box of volume 1 for each category, on which `snap` finds it."""
    soft = torch.tensor([float(k > 1) for k in blocks for _ in range(k)], device=x.device)
    return x + soft * u


def fold(x: Tensor, blocks: Sequence[int]) -> Tensor:
    """(B, D) as a table (B, columns): a category as its place among the others of its column, where its entry is the largest."""
    if max(blocks, default=1) == 1:
        return x
    return torch.stack(
        [part[:, 0] if k == 1 else part.argmax(1).to(x.dtype) for part, k in zip(torch.split(x, list(blocks), 1), blocks)], 1
    )


def unfold(table: Tensor, blocks: Sequence[int]) -> Tensor:
    """The inverse of `fold`: (B, columns) to (B, D)."""
    if max(blocks, default=1) == 1:
        return table
    parts = zip(table.unbind(1), blocks, strict=True)
    return torch.cat([c[:, None] if k == 1 else F.one_hot(c.long(), k).to(table.dtype) for c, k in parts], 1)
