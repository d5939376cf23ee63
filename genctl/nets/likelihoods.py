"""p(x | out): what the last layer of a decoder says of x. `size` numbers of it stand for one channel group of a picture, or one number.

Each answers log_prob(x, out) (B,) in nats, the mean of x, and a draw of x as samples show it; `fits(levels)` says whether x can be one.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genctl.contract import Spec
from genctl.maths import noise, pixels

LOG2PI = math.log(2 * math.pi)


class Bernoulli(nn.Module):
    """Independent coins; of grey values x in (0, 1) the cross-entropy, which is no likelihood."""

    what = "coin flips"

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.shape, self.levels = spec.shape, spec.levels

    @staticmethod
    def fits(spec: Spec) -> bool:
        return spec.levels == 2

    def log_prob(self, x: Tensor, out: Tensor) -> Tensor:
        return -F.binary_cross_entropy_with_logits(out, x, reduction="none").flatten(1).sum(1)

    def mean(self, out: Tensor) -> Tensor:
        return torch.sigmoid(out)

    def draw(self, out: Tensor) -> Tensor:
        """Of grey pictures the mean."""
        return noise.bernoulli(self.mean(out)) if self.levels == 2 else self.mean(out)


class Gaussian(nn.Module):
    """One learned deviation around the mean."""

    what = "numbers on the line"

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.shape, self.levels = spec.shape, spec.levels
        self.log_sigma = nn.Parameter(torch.zeros(()))

    @staticmethod
    def fits(spec: Spec) -> bool:
        return spec.levels == 0

    def log_prob(self, x: Tensor, out: Tensor) -> Tensor:
        gap = (x - out) * torch.exp(-self.log_sigma)
        return -(0.5 * gap.square() + self.log_sigma + 0.5 * LOG2PI).flatten(1).sum(1)

    def mean(self, out: Tensor) -> Tensor:
        return out

    def draw(self, out: Tensor) -> Tensor:
        """Of pictures the mean, in [0, 1]."""
        return out.clamp(0, 1) if self.levels else out + self.log_sigma.exp() * noise.randn(*out.shape, device=out.device)


class Logistic(nn.Module):
    """A mixture of discretised logistics for each pixel (`maths/pixels.py`)."""

    what = "levels of pixels"

    def __init__(self, spec: Spec, parts: int) -> None:
        super().__init__()
        self.levels = spec.levels
        self.head = pixels.Mixture(spec.levels, spec.shape[0], parts)
        self.shape = (self.head.size, *spec.shape[1:])

    @staticmethod
    def fits(spec: Spec) -> bool:
        return spec.levels > 2 and spec.kind == "image"

    def log_prob(self, x: Tensor, out: Tensor) -> Tensor:
        return self.head.log_prob((x * (self.levels - 1)).round().long(), out).flatten(1).sum(1)

    def mean(self, out: Tensor) -> Tensor:
        """Of the logistics, whose tails reach beyond the levels."""
        return ((self.head.average(out) + 1) / 2).clamp(0, 1)

    def draw(self, out: Tensor) -> Tensor:
        return self.head.draw(out).float() / (self.levels - 1)
