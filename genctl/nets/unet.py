"""A U-Net of residual blocks that are told the time, and a plain network that is told it too.

Ronneberger et al. 2015, https://arxiv.org/abs/1505.04597; the blocks of Ho et al. 2020 with the scale and shift of Dhariwal and
Nichol 2021, https://arxiv.org/abs/2105.05233. `patch` folds small squares of pixels into channels, so that no convolution runs
on the full picture: most of the quality for a fraction of the work.
"""

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genctl.nets.mlp import mlp, waves


def sinusoids(t: Tensor, width: int, period: float = 10_000) -> Tensor:
    """(B,) -> (B, width): sines and cosines of t at frequencies from 1 to 1 / period."""
    half = width // 2
    frequency = torch.exp(-math.log(period) / half * torch.arange(half, device=t.device))
    angle = t[:, None].float() * frequency
    return torch.cat([angle.cos(), angle.sin()], 1)


def groups(channels: int) -> int:
    """The most groups, up to 32, of at least 4 channels that divide them."""
    return max(g for g in range(1, 33) if channels % g == 0 and channels // g >= min(4, channels))


class ResBlock(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x)))))), the second norm scaled and shifted by the embedding."""

    def __init__(self, a: int, b: int, emb: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(groups(a), a), nn.Conv2d(a, b, 3, padding=1)
        self.emb = nn.Linear(emb, 2 * b)
        self.norm2, self.conv2 = nn.GroupNorm(groups(b), b), nn.Conv2d(b, b, 3, padding=1)
        self.skip = nn.Conv2d(a, b, 1) if a != b else nn.Identity()
        self.dropout = dropout
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.emb(emb)[:, :, None, None].chunk(2, 1)
        h = F.silu(torch.addcmul(shift, self.norm2(h), 1 + scale))
        out: Tensor = self.skip(x) + self.conv2(F.dropout(h, self.dropout, self.training))
        return out


class Attention(nn.Module):
    """Self-attention over the pixels of a small picture, 32 channels a head or as near as divides."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = max(1, channels // 32) if channels % 32 == 0 else 1
        self.norm = nn.GroupNorm(groups(channels), channels)
        self.qkv, self.out = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        tokens = self.norm(x).flatten(2).transpose(1, 2)  # (B, HW, C)
        q, k, v = self.qkv(tokens).view(b, h * w, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, h * w, c)
        out: Tensor = x + self.out(mixed).transpose(1, 2).reshape(b, c, h, w)
        return out


class UNet(nn.Module):
    """(B, C, H, W), emb (B, E) -> (B, C, H, W): `blocks` a level of `channels`, each level half the size; attention at the lowest."""

    def __init__(
        self,
        shape: Sequence[int],
        channels: Sequence[int],
        emb: int,
        blocks: int = 1,
        patch: int = 1,
        attention: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.patch = patch
        pixels = shape[0] * patch * patch
        self.first = nn.Conv2d(pixels, channels[0], 3, padding=1)
        self.down, self.shrink = nn.ModuleList(), nn.ModuleList()
        kept = []  # the channels of what the way down leaves for the way up
        for a, b in itertools.pairwise([channels[0], *channels]):
            level = nn.ModuleList([ResBlock(a if k == 0 else b, b, emb, dropout) for k in range(blocks)])
            kept += [b] * blocks
            self.down.append(level)
        self.shrink = nn.ModuleList([nn.Conv2d(c, c, 3, stride=2, padding=1) for c in channels[:-1]])
        top = channels[-1]
        self.middle = nn.ModuleList([ResBlock(top, top, emb, dropout), Attention(top) if attention else nn.Identity()])
        self.up = nn.ModuleList()
        below = top
        for c in reversed(channels):
            self.up.append(nn.ModuleList([ResBlock((below if k == 0 else c) + kept.pop(), c, emb, dropout) for k in range(blocks)]))
            below = c
        self.norm, self.last = nn.GroupNorm(groups(channels[0]), channels[0]), nn.Conv2d(channels[0], pixels, 3, padding=1)
        nn.init.zeros_(self.last.weight)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        height, width = x.shape[2:]
        if self.patch > 1:
            x = F.pixel_unshuffle(F.pad(x, (0, -width % self.patch, 0, -height % self.patch)), self.patch)
        h: Tensor = self.first(x)
        kept: list[Tensor] = []
        for k, level in enumerate(self.down):
            if k:
                h = self.shrink[k - 1](h)
            for block in level:  # type: ignore[attr-defined]
                h = block(h, emb)
                kept.append(h)
        block, attention = self.middle
        h = attention(block(h, emb))
        for level in self.up:
            for block in level:  # type: ignore[attr-defined]
                skip = kept.pop()
                if h.shape[2:] != skip.shape[2:]:
                    h = F.interpolate(h, scale_factor=2.0, mode="nearest")[..., : skip.shape[2], : skip.shape[3]]
                h = block(torch.cat([h, skip], 1), emb)
        out: Tensor = self.last(F.silu(self.norm(h)))
        return F.pixel_shuffle(out, self.patch)[..., :height, :width] if self.patch > 1 else out


class TimedMLP(nn.Module):
    """(B, D), emb (B, E) -> (B, D): residual layers of `width`, each told the embedding.

    octaves: x is read beside its sines and cosines at so many octaves.
    """

    def __init__(self, size: int, width: int, depth: int, emb: int, octaves: int = 0) -> None:
        super().__init__()
        self.octaves = octaves
        self.first, self.last = nn.Linear(size * (1 + 2 * octaves), width), nn.Linear(width, size)
        self.told = nn.ModuleList([nn.Linear(emb, width) for _ in range(depth)])
        self.layers = nn.ModuleList([mlp([width, width, width], "silu") for _ in range(depth)])
        nn.init.zeros_(self.last.weight)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h: Tensor = self.first(waves(x, self.octaves))
        for told, layer in zip(self.told, self.layers, strict=True):
            h = h + layer(F.silu(h + told(emb)))
        out: Tensor = self.last(F.silu(h))
        return out
