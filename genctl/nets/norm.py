"""Batch normalisation whose moments run over all ranks: the same numbers on N processes as on one, on gloo too.

Ioffe and Szegedy 2015, Batch Normalization, https://arxiv.org/abs/1502.03167.
"""

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn


class _Sum(torch.autograd.Function):
    """Sums a tensor over the ranks; so does its gradient, because every rank's loss depends on every rank's share."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        out = x.clone()
        dist.all_reduce(out)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        return _sum(grad)  # a Function again, so that penalties on gradients work


def _sum(x: Tensor) -> Tensor:
    out: Tensor = _Sum.apply(x)  # type: ignore[no-untyped-call]
    return out


class BatchNorm(nn.Module):
    """nn.BatchNorm1d, 2d and 3d of (B, C, ...), with moments over the batch of all ranks; affine, running averages in training only."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        alone = not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1
        if alone or not self.training:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, self.training, self.momentum, self.eps)
        axes = [0, *range(2, x.ndim)]
        shape = [1, -1] + [1] * (x.ndim - 2)
        count = x.new_tensor([x.numel() / x.shape[1]])
        own = torch.cat([count, x.sum(axes)])
        joined = _sum(own)
        n, total = joined[:1], joined[1:]
        mean = total / n
        centred = x - mean.view(shape)  # two passes: E[x^2] - E[x]^2 would lose digits
        var = _sum(centred.square().sum(axes)) / n
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * n / (n - 1), self.momentum)
        out: Tensor = centred * (torch.rsqrt(var + self.eps) * self.weight).view(shape) + self.bias.view(shape)
        return out
