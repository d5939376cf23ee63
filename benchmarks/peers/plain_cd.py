"""A textbook restricted Boltzmann machine in plain torch: CD-1 with the update written out, nothing fused or reused."""

import torch
from torch import Tensor


class PlainCD:
    """v (B, V), h (B, H); one call of `step` is one update."""

    def __init__(self, visible: int, hidden: int, rate: float = 0.05) -> None:
        self.w = 0.01 * torch.randn(visible, hidden)
        self.b, self.c, self.rate = torch.zeros(visible), torch.zeros(hidden), rate

    @torch.no_grad()
    def step(self, v: Tensor) -> None:
        h = torch.sigmoid(v @ self.w + self.c)
        v_ = torch.bernoulli(torch.sigmoid(torch.bernoulli(h) @ self.w.t() + self.b))
        h_ = torch.sigmoid(v_ @ self.w + self.c)
        self.w += self.rate * (v.t() @ h - v_.t() @ h_) / len(v)
        self.b += self.rate * (v - v_).mean(0)
        self.c += self.rate * (h - h_).mean(0)
