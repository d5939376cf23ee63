"""p(x | out): what the last layer of a decoder says of x. `size` numbers of it stand for one channel group of a picture, or one number.

Each answers log_prob(x, out) (B,) in nats, the mean of x, and a draw of x as samples show it; `fits(levels)` says whether x can be one.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genctl.contract import Spec
from genctl.maths import blocks, noise, pixels

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
        return spec.levels == 0 and max(spec.blocks, default=1) == 1

    def log_prob(self, x: Tensor, out: Tensor) -> Tensor:
        gap = (x - out) * torch.exp(-self.log_sigma)
        return -(0.5 * gap.square() + self.log_sigma + 0.5 * LOG2PI).flatten(1).sum(1)

    def mean(self, out: Tensor) -> Tensor:
        return out

    def draw(self, out: Tensor) -> Tensor:
        """Of pictures the mean, in [0, 1]."""
        return out.clamp(0, 1) if self.levels else out + self.log_sigma.exp() * noise.randn(*out.shape, device=out.device)


class Columns(nn.Module):
    """The columns of a table: Gaussians, each with its own learned deviation, and a softmax for each one-hot."""

    what = "numbers and categories"
    least = -5.0  # log-deviation: a column of few values would ask for none at all, and its density for no bound

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.shape = spec.shape
        self.numbers, self.onehots = blocks.numbers(spec.blocks), blocks.onehots(spec.blocks)
        self.log_sigma = nn.Parameter(torch.zeros(len(self.numbers)))

    @staticmethod
    def fits(spec: Spec) -> bool:
        return bool(spec.blocks)

    def log_prob(self, x: Tensor, out: Tensor) -> Tensor:
        """A density of the numbers times a probability of the categories."""
        log_sigma = self.log_sigma.clamp(min=self.least)
        gap = (x - out)[:, self.numbers] * torch.exp(-log_sigma)
        found = -(0.5 * gap.square() + log_sigma + 0.5 * LOG2PI).sum(1)
        for at in self.onehots:
            found = found + (x[:, at] * out[:, at].log_softmax(1)).sum(1)
        return found

    def mean(self, out: Tensor) -> Tensor:
        """Of a one-hot its probabilities."""
        found = out.clone()
        for at in self.onehots:
            found[:, at] = out[:, at].softmax(1)
        return found

    def draw(self, out: Tensor) -> Tensor:
        found = out.clone()
        sigma = self.log_sigma.clamp(min=self.least).exp()
        found[:, self.numbers] += sigma * noise.randn(len(out), len(self.numbers), device=out.device)
        for at in self.onehots:
            found[:, at] = F.one_hot(noise.categorical(out[:, at]), at.stop - at.start).to(out.dtype)
        return found


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
