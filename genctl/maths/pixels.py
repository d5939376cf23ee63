"""What a network says of one pixel: the parameters of a distribution over its levels, channel by channel.

A head has `size` parameters a pixel. `log_prob(x, params)` scores whole pictures, x (B, C, H, W) of levels 0..L-1 and params
(B, size, H, W), as (B, H, W); `logits(params, before)` (n, L) is the next channel of one pixel, params (n, size), given the channels
before it (n, c).
"""

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from genctl.maths import noise


class Head(Protocol):
    @property
    def size(self) -> int: ...
    def log_prob(self, x: Tensor, params: Tensor) -> Tensor: ...
    def logits(self, params: Tensor, before: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Bernoulli:
    """One coin flip a pixel; L = 2, C = 1."""

    size: int = 1

    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        return -F.binary_cross_entropy_with_logits(params[:, 0], x[:, 0].to(params.dtype), reduction="none")

    def logits(self, params: Tensor, before: Tensor) -> Tensor:
        return F.pad(params, (1, 0))


@dataclass(frozen=True)
class Softmax:
    """A logit for each level or symbol; C = 1."""

    size: int

    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        return -F.cross_entropy(params, x[:, 0], reduction="none")

    def logits(self, params: Tensor, before: Tensor) -> Tensor:
        return params


@dataclass(frozen=True)
class Mixture:
    """`parts` logistic distributions over the line, each level the mass of its bin; the outer bins reach to infinity.

    Salimans, Karpathy, Chen and Kingma 2017, PixelCNN++, https://arxiv.org/abs/1701.05517, eq. 2 and 3: the mean of a channel
    depends linearly on the channels before it.
    """

    levels: int
    channels: int = 1
    parts: int = 10
    smallest: float = -7.0  # log-scale, where a bin of 256 levels is 1 / 127.5 wide

    @property
    def size(self) -> int:
        return self.parts * (1 + 2 * self.channels + self.channels * (self.channels - 1) // 2)

    def split(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Log-weights (B, K, ...), means and log-scales (B, C, K, ...), coefficients (B, pairs, K, ...) of params (B, size, ...)."""
        b, _, *rest = params.shape
        shaped = params.view(b, -1, self.parts, *rest)
        weights, means, scales, coefficients = torch.split(
            shaped, [1, self.channels, self.channels, shaped.shape[1] - 1 - 2 * self.channels], 1
        )
        return weights[:, 0].log_softmax(1), means, scales.clamp(min=self.smallest), coefficients.tanh()

    def mean(self, c: int, means: Tensor, coefficients: Tensor, x: list[Tensor]) -> Tensor:
        """(B, K, ...) of channel c, given the channels before it in [-1, 1], (B, ...) each."""
        out = means[:, c]
        for k in range(c):
            out = out + coefficients[:, c * (c - 1) // 2 + k] * x[k][:, None]
        return out

    def mass(self, x: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
        """log P of the bins around x in [-1, 1]: sigma(a) - sigma(b) = sigma(a) sigma(-b) (1 - exp(b - a))."""
        half, inverse = 1 / (self.levels - 1), (-scale).exp()
        a, b = (x + half - mean) * inverse, (x - half - mean) * inverse
        inner = F.logsigmoid(a) + F.logsigmoid(-b) + torch.log(-torch.expm1(-2 * half * inverse))
        return torch.where(x < -1 + half, F.logsigmoid(a), torch.where(x > 1 - half, F.logsigmoid(-b), inner))

    def scaled(self, x: Tensor) -> Tensor:
        return 2 * x.float() / (self.levels - 1) - 1

    def log_prob(self, x: Tensor, params: Tensor) -> Tensor:
        weights, means, scales, coefficients = self.split(params)
        channels = list(self.scaled(x).unbind(1))
        total = weights
        for c, value in enumerate(channels):
            total = total + self.mass(value[:, None], self.mean(c, means, coefficients, channels), scales[:, c])
        return total.logsumexp(1)

    def average(self, params: Tensor) -> Tensor:
        """The mean (B, C, ...) in [-1, 1] of all channels."""
        weights, means, _, coefficients = self.split(params)
        found: list[Tensor] = []
        for c in range(self.channels):
            found.append((weights.exp() * self.mean(c, means, coefficients, found)).sum(1))
        return torch.stack(found, 1)

    def draw(self, params: Tensor) -> Tensor:
        """A draw (B, C, ...) of levels: one part a pixel, then channel by channel."""
        weights, means, scales, coefficients = self.split(params)
        b, _, *rest = weights.shape
        flat = weights.movedim(1, -1)
        part = noise.categorical(flat.reshape(b, -1, self.parts)).view(b, 1, *rest)
        found: list[Tensor] = []
        levels: list[Tensor] = []
        for c in range(self.channels):
            u = noise.rand(b, *rest, device=params.device).clamp(1e-5, 1 - 1e-5)
            middle = self.mean(c, means, coefficients, found).gather(1, part)[:, 0]
            wide = scales[:, c].gather(1, part)[:, 0].exp()
            value = (middle + wide * torch.logit(u) + 1) / 2 * (self.levels - 1)
            levels.append(value.round().clamp(0, self.levels - 1).long())
            found.append(self.scaled(levels[-1]))
        return torch.stack(levels, 1)

    def logits(self, params: Tensor, before: Tensor) -> Tensor:
        weights, means, scales, coefficients = self.split(params)
        c, known = before.shape[1], list(self.scaled(before).unbind(1))
        for k, value in enumerate(known):
            weights = weights + self.mass(value[:, None], self.mean(k, means, coefficients, known), scales[:, k])
        every = self.scaled(torch.arange(self.levels, device=params.device))[:, None, None]  # (L, 1, 1)
        mass = self.mass(every, self.mean(c, means, coefficients, known), scales[:, c])  # (L, n, K)
        return (weights + mass).logsumexp(2).T - weights.logsumexp(1, keepdim=True)


def head(output: str, levels: int, channels: int, parts: int) -> Head:
    """By the name in a recipe. Raises ValueError with the reason why this data cannot have it."""
    if output == "auto":
        output = "bernoulli" if levels == 2 and channels == 1 else "softmax" if channels == 1 and levels <= 32 else "mol"
    if output == "bernoulli" and levels != 2:
        raise ValueError(f"a coin flip has 2 levels, this data {levels}")
    if output != "mol" and channels != 1:
        raise ValueError(f"'{output}' is for one channel, this data has {channels}; take mol")
    if output == "bernoulli":
        return Bernoulli()
    return Softmax(levels) if output == "softmax" else Mixture(levels, channels, parts)
