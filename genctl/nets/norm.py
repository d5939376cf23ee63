"""Normalisation: batch normalisation whose moments run over all ranks (the same numbers on N processes as on one, on gloo too), and
weights by their spectral norm.

Ioffe and Szegedy 2015, Batch Normalization, https://arxiv.org/abs/1502.03167.
"""

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from genctl.maths import ranks


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
        joined = ranks.joined(own)
        n, total = joined[:1], joined[1:]
        mean = total / n
        centred = x - mean.view(shape)  # two passes: E[x^2] - E[x]^2 would lose digits
        var = ranks.joined(centred.square().sum(axes)) / n
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * n / (n - 1), self.momentum)
        out: Tensor = centred * (torch.rsqrt(var + self.eps) * self.weight).view(shape) + self.bias.view(shape)
        return out


class Spectral(nn.Module):
    """A weight divided by its largest singular value, as torch.nn.utils.parametrize wants it: `spectral(layer)`.

    Miyato et al. 2018, https://arxiv.org/abs/1802.05957, algorithm 1: in training each use of the weight is one more power iteration.
    torch's own multiplies by an operation that Apple's GPUs lack.
    """

    u: Tensor
    v: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        flat = weight.detach().flatten(1)
        self.register_buffer("u", F.normalize(torch.randn(len(flat)), dim=0))
        self.register_buffer("v", F.normalize(torch.randn(flat.shape[1]), dim=0))
        for _ in range(15):
            self.iterate(flat)

    @torch.no_grad()
    def iterate(self, flat: Tensor) -> None:
        self.v.copy_(F.normalize(flat.T @ self.u, dim=0))
        self.u.copy_(F.normalize(flat @ self.v, dim=0))

    def forward(self, weight: Tensor) -> Tensor:
        flat = weight.flatten(1)
        if self.training:
            self.iterate(flat)
        u, v = self.u.clone(), self.v.clone()  # the next use moves them before this one's gradient is taken
        return weight / (u[:, None] * flat * v).sum()  # no matrix product: autocast would round it


def spectral(layer: nn.Module) -> None:
    """Divides the weight of a layer by its largest singular value, from now on."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    parametrize.register_parametrization(layer, "weight", Spectral(weight))
