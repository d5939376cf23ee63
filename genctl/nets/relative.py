"""Relative positions: a learned number for each head and distance is added to the scores of attention.

Raffel et al. 2020, https://arxiv.org/abs/1910.10683, section 2.1: near distances have a number each, far ones share them by their logarithm.
"""

import math

import torch
from torch import Tensor, nn

BUCKETS, FAR = 32, 128  # numbers a head; distances from FAR on share the last


def bucket(distance: Tensor, count: int) -> Tensor:
    """0 .. count - 1 for distances from 0: the first half one by one, the rest by their logarithm."""
    near = count // 2
    far = near + ((distance.clamp(min=1) / near).log() / math.log(FAR / near) * (count - near)).long()
    return torch.where(distance < near, distance, far.clamp(max=count - 1))


class Relative(nn.Module):
    """The numbers of one network, whose layers share them. causal: what lies ahead is not looked at; otherwise half of them are for it."""

    def __init__(self, heads: int, causal: bool) -> None:
        super().__init__()
        self.causal, self.table = causal, nn.Embedding(BUCKETS, heads)

    def forward(self, first: int, stop: int) -> Tensor:
        """(1, heads, stop - first, stop): what is added for the vectors first .. stop - 1 that look at all up to stop - 1."""
        place = torch.arange(stop, device=self.table.weight.device)
        ahead = place - place[first:, None]
        if self.causal:
            added: Tensor = self.table(bucket((-ahead).clamp(min=0), BUCKETS)).movedim(-1, 0)
            return added.masked_fill(ahead > 0, -torch.inf)[None]
        half = BUCKETS // 2
        added = self.table(bucket(ahead.abs(), half) + half * (ahead > 0)).movedim(-1, 0)
        return added[None]
