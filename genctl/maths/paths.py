"""Ways from one code to another."""

import torch
from torch import Tensor


def linear(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """(T, *shape) of a, b (*shape) and t (T,) in [0, 1]."""
    t = t.view(-1, *[1] * a.dim())
    return a + t * (b - a)


def spherical(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Along a great circle, so that codes keep the length of draws of a Gaussian (White 2016, https://arxiv.org/abs/1609.04468)."""
    lengths = a.norm() * b.norm()
    angle = torch.acos(((a * b).sum() / lengths.clamp(min=1e-12)).clamp(-1, 1))
    if angle.sin() < 1e-4:  # in line: there is no one great circle
        return linear(a, b, t)
    t = t.view(-1, *[1] * a.dim())
    return (torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b) / torch.sin(angle)
