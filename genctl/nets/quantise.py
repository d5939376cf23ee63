"""From vectors to symbols and back: a learned codebook, or a fixed grid."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genctl.maths import ranks


class Codebook(nn.Module):
    """K vectors (K, D), each the running mean of the vectors nearest to it (van den Oord et al. 2017, appendix A.1).

    https://arxiv.org/abs/1711.00937. A vector that is hardly used is moved onto one of the batch (Dhariwal et al. 2020, Jukebox,
    https://arxiv.org/abs/2005.00341, section 3.1).
    """

    book: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(self, count: int, size: int, decay: float = 0.99, least: float = 0.1) -> None:
        super().__init__()
        self.decay, self.least = decay, least
        self.register_buffer("book", torch.randn(count, size))
        self.register_buffer("counts", torch.zeros(count))  # running, of a batch
        self.register_buffer("sums", torch.zeros(count, size))

    def nearest(self, h: Tensor) -> Tensor:
        """Symbols (N,) of vectors (N, D)."""
        return (self.book.square().sum(1) - 2 * h @ self.book.t()).argmin(1)

    def vectors(self, symbols: Tensor) -> Tensor:
        """(..., D) of symbols (...)."""
        return F.embedding(symbols, self.book)

    @torch.no_grad()
    def learn(self, h: Tensor, symbols: Tensor, step: int) -> None:
        """One step of the running means over the batches of all ranks; vectors that hardly any of them use begin anew."""
        every = ranks.gather(h)
        if step == 0:
            self.restart(every, torch.ones_like(self.counts, dtype=torch.bool), 0)
            symbols = self.nearest(h)
        hits = F.one_hot(symbols, len(self.book)).to(h.dtype)
        counts, sums = ranks.total(hits.sum(0)), ranks.total(hits.t() @ h)
        keep = self.decay if step else 0.0
        self.counts.mul_(keep).add_(counts, alpha=1 - keep)
        self.sums.mul_(keep).add_(sums, alpha=1 - keep)
        used = self.counts > 1e-6
        self.book.copy_(torch.where(used[:, None], self.sums / self.counts.clamp(min=1e-6)[:, None], self.book))
        self.restart(every, self.counts < self.least * len(every) / len(self.book), step)

    def restart(self, every: Tensor, dead: Tensor, step: int) -> None:
        """Moves the dead onto vectors of the batch, evenly spaced; the batch is in random order."""
        n, count = len(every), int(dead.sum())
        if not count:
            return
        picked = every[(step + torch.arange(count, device=every.device) * max(1, n // count)) % n]
        mean = n / len(self.book)
        self.book[dead] = picked
        self.counts[dead], self.sums[dead] = mean, mean * picked

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Vectors (N, D) to (straight-through (N, D), symbols (N,), commitment |h - e|^2 a vector)."""
        symbols = self.nearest(h)
        e = self.vectors(symbols)
        return h + (e - h).detach(), symbols, (h - e.detach()).square().sum(1).mean()


class Grid(nn.Module):
    """Each number rounded to one of a few levels: finite scalar quantisation, without a codebook (Mentzer et al. 2023).

    https://arxiv.org/abs/2309.15505, section 3; levels lie evenly in [-1, 1], which needs no shift where they are even in number.
    """

    levels: Tensor
    strides: Tensor

    def __init__(self, levels: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("levels", torch.tensor(levels), persistent=False)
        self.register_buffer("strides", torch.tensor([math.prod(levels[:i]) for i in range(len(levels))]), persistent=False)

    def places(self, h: Tensor) -> Tensor:
        """(N, D) onto 0 .. L - 1, not rounded yet."""
        return (h.tanh() + 1) / 2 * (self.levels - 1)

    def nearest(self, h: Tensor) -> Tensor:
        """Symbols (N,)."""
        return (self.places(h).round().long() * self.strides).sum(1)

    def vectors(self, symbols: Tensor) -> Tensor:
        """(..., D) in [-1, 1]."""
        return 2.0 * (symbols[..., None] // self.strides % self.levels) / (self.levels - 1) - 1

    def learn(self, h: Tensor, symbols: Tensor, step: int) -> None:
        """Nothing to learn."""

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As of a Codebook; there is nothing to commit to."""
        places = self.places(h)
        rounded = places + (places.round() - places).detach()
        return 2 * rounded / (self.levels - 1) - 1, self.nearest(h), h.new_zeros(())
