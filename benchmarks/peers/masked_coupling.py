"""A textbook RealNVP in plain torch: masked affine couplings, each network seeing and answering for all dimensions."""

import math

import torch
from torch import Tensor, nn


class MaskedCouplings(nn.Module):
    """`couplings` layers with alternating half masks; networks dim-hidden-hidden-2 dim."""

    def __init__(self, dim: int, couplings: int, hidden: int) -> None:
        super().__init__()
        mask = (torch.arange(dim) < dim // 2).float()
        self.register_buffer("masks", torch.stack([mask if i % 2 == 0 else 1 - mask for i in range(couplings)]))
        self.nets = nn.ModuleList(
            nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 2 * dim))
            for _ in range(couplings)
        )

    def log_prob(self, x: Tensor) -> Tensor:
        log_det = torch.zeros(len(x))
        for mask, net in zip(self.masks, self.nets, strict=True):
            s, t = net(mask * x).chunk(2, 1)
            s = torch.tanh(s) * (1 - mask)
            x = mask * x + (1 - mask) * (x * s.exp() + t)
            log_det = log_det + s.sum(1)
        return -0.5 * (x.square() + math.log(2 * math.pi)).sum(1) + log_det
