"""A bag of symbols: which symbols and groups of them a row holds, not in what order; scored by a linear layer.

Groups share weights by hashing: Joulin et al. 2016 (fastText), https://arxiv.org/abs/1607.01759.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genctl.maths import ranks

PRIME = 1_000_003


class Bag(nn.Module):
    """Rows (B, T) to scores (B, out): the sum of a weight for each group of 1 to `most` symbols, those of few rows counting more.

    A group counts as log(rows / rows that hold it) + 1, and a row as a vector of length one (Salton and Buckley 1988,
    https://doi.org/10.1016/0306-4573(88)90021-0); `note` counts them. With `bayes` a group counts, for each class, as the log of how much
    likelier it is in rows of that class than in the others, `bayes` rows of either with it being assumed beforehand (Wang and Manning 2012,
    https://aclanthology.org/P12-2018).
    """

    rows: Tensor
    holding: Tensor

    def __init__(self, out: int, most: int, buckets: int, bayes: float = 0.0) -> None:
        super().__init__()
        self.most, self.buckets, self.bayes = most, buckets, bayes
        self.weight, self.bias = nn.Parameter(torch.zeros(buckets, out)), nn.Parameter(torch.zeros(out))
        self.register_buffer("rows", torch.zeros(()))
        self.register_buffer("holding", torch.zeros(buckets, out) if bayes else torch.zeros(buckets))

    def note(self, x: Tensor, alive: Tensor, label: Tensor) -> None:
        """Counts what rows of training hold; label (B,): their classes."""
        held, there = self.groups(x, alive)
        if self.bayes:
            held = held * self.holding.shape[1] + label[:, None]
        seen = torch.bincount(held[there], minlength=self.holding.numel()).float()
        self.holding += ranks.total(seen).view_as(self.holding)
        self.rows += ranks.total(torch.tensor(float(len(x)), device=x.device))

    def forward(self, x: Tensor, alive: Tensor) -> Tensor:
        """alive (B, T): True for the symbols that are in the bag."""
        held, there = self.groups(x, alive)
        counts = self.ratios() if self.bayes else (((1 + self.rows) / (1 + self.holding)).log() + 1)[:, None]
        share = F.embedding(held, counts) * there[..., None]
        share = share / share.norm(dim=1, keepdim=True).clamp(min=1e-6)
        out: Tensor = (F.embedding(held, self.weight) * share).sum(1) + self.bias
        return out

    def ratios(self) -> Tensor:
        """(buckets, out) log of p(group | class) / p(group | another class)."""
        own, others = self.holding + self.bayes, self.holding.sum(1, keepdim=True) - self.holding + self.bayes
        return (own / own.sum(0)).log() - (others / others.sum(0)).log()

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
