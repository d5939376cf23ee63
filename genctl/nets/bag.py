"""A bag of symbols: which symbols and groups of them a row holds, not in what order; scored by a linear layer.

Groups share weights by hashing: Joulin et al. 2016 (fastText), https://arxiv.org/abs/1607.01759.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PRIME = 1_000_003


class Bag(nn.Module):
    """Rows (B, T) to scores (B, out): the sum of a weight for each group of 1 to `most` symbols, over the root of how many there are."""

    def __init__(self, out: int, most: int, buckets: int) -> None:
        super().__init__()
        self.most, self.buckets = most, buckets
        self.weight, self.bias = nn.Parameter(torch.zeros(buckets, out)), nn.Parameter(torch.zeros(out))

    def forward(self, x: Tensor, alive: Tensor) -> Tensor:
        """alive (B, T): True for the symbols that are in the bag."""
        held, there = self.groups(x, alive)
        count = there.sum(1, keepdim=True).clamp(min=1)
        return (F.embedding(held, self.weight) * there[..., None]).sum(1) / count.sqrt() + self.bias

    def groups(self, x: Tensor, alive: Tensor) -> tuple[Tensor, Tensor]:
        """(buckets (B, G), True for those that are there): each but once."""
        code, found = x, [torch.where(alive, x % self.buckets, self.buckets)]
        for n in range(1, self.most):
            code = code[:, :-1] * PRIME + x[:, n:] + n
            found.append(torch.where(alive[:, n:], code % self.buckets, self.buckets))
        row = torch.cat(found, 1).sort(1).values
        again = F.pad(row[:, 1:] == row[:, :-1], (1, 0))
        there = (row < self.buckets) & ~again
        return row.masked_fill(~there, 0), there
