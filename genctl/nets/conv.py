"""Plain convolutional encoders and decoders that halve and double a picture step by step; any height and width."""

import itertools
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from genctl.nets.mlp import ACTIVATIONS, mlp
from genctl.nets.norm import BatchNorm


def pyramid(height: int, width: int, steps: int) -> list[tuple[int, int]]:
    """The sizes of a picture before and after each halving, rounded up."""
    sizes = [(height, width)]
    for _ in range(steps):
        h, w = sizes[-1]
        sizes.append((-(-h // 2), -(-w // 2)))
    return sizes


def normed(channels: int, on: bool) -> list[nn.Module]:
    """Batch normalisation, or nothing."""
    return [BatchNorm(channels)] if on else []


class Residual(nn.Module):
    """x + two 3x3 convolutions of its activation, (B, C, H, W) both ways (He et al. 2016, https://arxiv.org/abs/1603.05027)."""

    def __init__(self, channels: int, activation: str, norm: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(2):
            layers += [*normed(channels, norm), ACTIVATIONS[activation](), nn.Conv2d(channels, channels, 3, padding=1, bias=not norm)]
        self.net = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.net(x)
        return out


def down(channels: Sequence[int], activation: str, norm: bool, blocks: int) -> list[nn.Module]:
    """(B, channels[0], H, W) to (B, channels[-1], ...): a stride-2 3x3 convolution to each width behind the first, then its blocks."""
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(channels):
        layers += [nn.Conv2d(a, b, 3, stride=2, padding=1, bias=not norm), *normed(b, norm), ACTIVATIONS[activation]()]
        layers += [Residual(b, activation, norm) for _ in range(blocks)]
    return layers


def up(sizes: Sequence[tuple[int, int]], channels: Sequence[int], activation: str, norm: bool, blocks: int) -> list[nn.Module]:
    """The mirror of `down`, by 4x4 transposed convolutions: the last of `sizes` and `channels` to the first; the last layer is linear."""
    layers: list[nn.Module] = []
    for k in range(len(channels) - 1, 0, -1):
        a, b, inner = channels[k], channels[k - 1], k > 1
        layers += [Residual(a, activation, norm) for _ in range(blocks)]
        layers += [nn.ConvTranspose2d(a, b, 4, stride=2, padding=1, bias=not (norm and inner)), Crop(*sizes[k - 1])]
        layers += [*normed(b, norm), ACTIVATIONS[activation]()] if inner else []
    return layers


class ConvEncoder(nn.Module):
    """(B, C, H, W) -> (B, out): stride-2 3x3 convolutions of `channels`, linear layers of `dense`, a linear layer.

    norm      batch normalisation before each activation
    blocks    residual blocks at each size
    """

    def __init__(
        self,
        shape: Sequence[int],
        channels: Sequence[int],
        out: int,
        activation: str = "relu",
        dense: Sequence[int] = (),
        norm: bool = False,
        blocks: int = 0,
    ) -> None:
        super().__init__()
        c, h, w = shape
        top = pyramid(h, w, len(channels))[-1]
        flat = mlp([channels[-1] * top[0] * top[1], *dense, out], activation, norm=norm)
        self.net = nn.Sequential(*down([c, *channels], activation, norm, blocks), nn.Flatten(), flat)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        return out


class ConvDecoder(nn.Module):
    """(B, code) -> (B, C, H, W): the encoder's mirror; the last layer is linear."""

    def __init__(
        self,
        shape: Sequence[int],
        channels: Sequence[int],
        code: int,
        activation: str = "relu",
        dense: Sequence[int] = (),
        norm: bool = False,
        blocks: int = 0,
    ) -> None:
        super().__init__()
        c, h, w = shape
        sizes = pyramid(h, w, len(channels))
        top = sizes[-1]
        self.first = nn.Sequential(
            mlp([code, *reversed(dense), channels[-1] * top[0] * top[1]], activation, last=True, norm=norm),
            nn.Unflatten(1, (channels[-1], *top)),
        )
        self.net = nn.Sequential(*up(sizes, [c, *channels], activation, norm, blocks))

    def forward(self, z: Tensor) -> Tensor:
        out: Tensor = self.net(self.first(z))
        return out


class Crop(nn.Module):
    """Cuts a picture (..., height, width) or a clip (..., frames, height, width) back to a size that doubling overshot."""

    def __init__(self, *size: int) -> None:
        super().__init__()
        self.cut: Any = (..., *(slice(n) for n in size))

    def forward(self, x: Tensor) -> Tensor:
        return x[self.cut]
