"""A U-Net of residual blocks that are told the noise: over pictures, over clips frame by frame with what joins the frames, over signals.

Ronneberger et al. 2015, https://arxiv.org/abs/1505.04597; the network of Ho et al. 2020, which keeps what every layer of the way down made
for the way up, with the scale and shift of Dhariwal and Nichol 2021, https://arxiv.org/abs/2105.05233; what joins the frames of a clip: Ho et al. 2022, Video diffusion models,
https://arxiv.org/abs/2204.03458. A signal is a picture one pixel high. `patch` folds small squares of pixels into channels, so that
no convolution runs on the full picture: most of the quality for a fraction of the work.
"""

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genctl.nets.told import Told


def groups(channels: Sequence[int]) -> int:
    """The most groups, up to 32, that divide all of them and hold at least 4 of the fewest."""
    least = min(channels)
    return max(g for g in range(1, 33) if math.gcd(*channels) % g == 0 and least // g >= min(4, least))


def conv(a: int, b: int, flat: bool, stride: int = 1) -> nn.Conv2d:
    """3x3, or 1x3 where pictures are one pixel high."""
    return nn.Conv2d(a, b, (1, 3), (1, stride), (0, 1)) if flat else nn.Conv2d(a, b, 3, stride, 1)


class ResBlock(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x)))))), the second norm scaled and shifted by the embedding."""

    def __init__(self, a: int, b: int, emb: int, parts: int, dropout: float = 0.0, flat: bool = False) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(parts, a), conv(a, b, flat)
        self.emb = nn.Linear(emb, 2 * b)
        self.norm2, self.conv2 = nn.GroupNorm(parts, b), conv(b, b, flat)
        self.skip = nn.Conv2d(a, b, 1) if a != b else nn.Identity()
        self.dropout = dropout
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.emb(emb)[:, :, None, None].chunk(2, 1)
        h = F.silu(torch.addcmul(shift, self.norm2(h), 1 + scale))
        out: Tensor = self.skip(x) + self.conv2(F.dropout(h, self.dropout, self.training))
        return out


class Along(nn.Module):
    """x + a convolution of three frames, (B T, C, H, W) both ways; it begins as nothing."""

    def __init__(self, channels: int, frames: int, parts: int) -> None:
        super().__init__()
        self.frames, self.norm = frames, nn.GroupNorm(parts, channels)
        self.mix = nn.Conv3d(channels, channels, (3, 1, 1), padding=(1, 0, 0))
        nn.init.zeros_(self.mix.weight)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        clip = F.silu(self.norm(x)).view(-1, self.frames, *x.shape[1:]).transpose(1, 2)  # (B, C, T, H, W)
        out: Tensor = x + self.mix(clip).transpose(1, 2).flatten(0, 1)
        return out


class Attention(nn.Module):
    """Attention of the places of a small picture, or of all frames of a clip, to each other and to a text; 32 channels a head or as near as divides."""

    def __init__(self, channels: int, parts: int, frames: int = 1, text: int = 0) -> None:
        super().__init__()
        self.heads, self.frames = max(1, channels // 32) if channels % 32 == 0 else 1, frames
        self.norm = nn.GroupNorm(parts, channels)
        self.qkv, self.out = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        nn.init.zeros_(self.out.weight)
        self.text = text
        if text:
            self.norm2, self.query = nn.LayerNorm(channels), nn.Linear(channels, channels)
            self.kv, self.out2 = nn.Linear(text, 2 * channels), nn.Linear(channels, channels)
            nn.init.zeros_(self.out2.weight)

    def split(self, x: Tensor, parts: int) -> tuple[Tensor, ...]:
        """(B, S, parts C) -> parts of (B, heads, S, d)."""
        return tuple(x.view(*x.shape[:2], parts, self.heads, -1).permute(2, 0, 3, 1, 4).unbind())

    def mix(self, q: Tensor, k: Tensor, v: Tensor, seen: Tensor | None = None) -> Tensor:
        out: Tensor = F.scaled_dot_product_attention(q, k, v, seen)
        return out.transpose(1, 2).flatten(2)

    def forward(self, x: Tensor, told: Told) -> Tensor:
        c, h, w = x.shape[1:]
        places = self.norm(x).view(-1, self.frames, c, h * w).transpose(2, 3).flatten(1, 2)  # (B, THW, C)
        q, k, v = self.split(self.qkv(places), 3)
        more: Tensor = self.out(self.mix(q, k, v))
        if self.text and told.tokens is not None:
            (q,) = self.split(self.query(self.norm2(places + more)), 1)
            k, v = self.split(self.kv(told.tokens), 2)
            more = more + self.out2(self.mix(q, k, v, None if told.seen is None else told.seen[:, None, None]))
        return x + more.view(-1, h * w, c).transpose(1, 2).view(-1, c, h, w)


class UNet(nn.Module):
    """(B, *shape) -> (B, out, ...): `blocks` a level of `channels`, each level half the size, one more on the way up; attention at the lowest.

    shape   (C, T), (C, H, W) or (T, C, H, W)
    emb     of the embedding of what is told
    text    the width of the tokens of a text that the attention looks at; 0: none
    out     channels that come out; 0: as many as go in
    """

    def __init__(
        self,
        shape: Sequence[int],
        channels: Sequence[int],
        emb: int,
        blocks: int = 1,
        patch: int = 1,
        attention: bool = True,
        dropout: float = 0.0,
        text: int = 0,
        out: int = 0,
    ) -> None:
        super().__init__()
        self.flat, self.frames = len(shape) == 2, shape[0] if len(shape) == 4 else 1
        self.patch = (1 if self.flat else patch, patch)
        area, c = self.patch[0] * self.patch[1], shape[-3] if len(shape) > 2 else shape[0]
        self.parts = groups(channels)
        self.first = conv(c * area, channels[0], self.flat)

        def block(a: int, b: int) -> nn.ModuleList:
            made: list[nn.Module] = [ResBlock(a, b, emb, self.parts, dropout, self.flat)]
            return nn.ModuleList([*made, Along(b, self.frames, self.parts)] if self.frames > 1 else made)

        self.down, self.shrink = nn.ModuleList(), nn.ModuleList()
        kept = [channels[0]]  # the channels of what the way down leaves for the way up
        for k, (a, b) in enumerate(itertools.pairwise([channels[0], *channels])):
            if k:
                self.shrink.append(conv(a, a, self.flat, stride=2))
                kept.append(a)
            self.down.append(nn.ModuleList([block(a if k == 0 else b, b) for k in range(blocks)]))
            kept += [b] * blocks
        top = channels[-1]
        self.middle = nn.ModuleList([block(top, top), block(top, top)])
        self.attention = Attention(top, self.parts, self.frames, text) if attention or text else None
        self.up, self.grow = nn.ModuleList(), nn.ModuleList()
        below = top
        for k, width in enumerate(reversed(channels)):
            if k:
                self.grow.append(conv(below, below, self.flat))
            self.up.append(nn.ModuleList([block((below if k == 0 else width) + kept.pop(), width) for k in range(blocks + 1)]))
            below = width
        self.norm, self.last = nn.GroupNorm(self.parts, channels[0]), conv(channels[0], (out or c) * area, self.flat)
        nn.init.zeros_(self.last.weight)

    def forward(self, x: Tensor, told: Told) -> Tensor:
        shape = x.shape
        x = x[:, :, None] if self.flat else x.flatten(0, 1) if self.frames > 1 else x
        emb = told.emb.repeat_interleave(self.frames, 0) if self.frames > 1 else told.emb
        height, width = x.shape[2:]
        h: Tensor = self.first(fold(x, self.patch))
        kept = [h]
        for k, level in enumerate(self.down):
            if k:
                h = self.shrink[k - 1](h)
                kept.append(h)
            for block in level:  # type: ignore[attr-defined]
                h = run(block, h, emb)
                kept.append(h)
        h = run(self.middle[0], h, emb)
        h = h if self.attention is None else self.attention(h, told)
        h = run(self.middle[1], h, emb)
        for k, level in enumerate(self.up):
            if k:
                doubled = F.interpolate(h, scale_factor=(1.0, 2.0) if self.flat else 2.0, mode="nearest")
                h = self.grow[k - 1](doubled[..., : kept[-1].shape[2], : kept[-1].shape[3]])
            for block in level:  # type: ignore[attr-defined]
                h = run(block, torch.cat([h, kept.pop()], 1), emb)
        out = unfold(self.last(F.silu(self.norm(h))), self.patch)[..., :height, :width]
        return out[:, :, 0] if self.flat else out.reshape(*shape[:2], *out.shape[1:]) if self.frames > 1 else out


def run(block: nn.Module, h: Tensor, emb: Tensor) -> Tensor:
    """A residual block, and what joins the frames behind it."""
    for part in block:  # type: ignore[attr-defined]
        h = part(h, emb)
    return h


def fold(x: Tensor, patch: tuple[int, int]) -> Tensor:
    """(B, C, H, W) -> (B, C p q, H / p, W / q), rounded up with zeros."""
    p, q = patch
    if p * q == 1:
        return x
    x = F.pad(x, (0, -x.shape[3] % q, 0, -x.shape[2] % p))
    n, c, h, w = x.shape
    return x.view(n, c, h // p, p, w // q, q).permute(0, 1, 3, 5, 2, 4).reshape(n, -1, h // p, w // q)


def unfold(x: Tensor, patch: tuple[int, int]) -> Tensor:
    """Its inverse, but for the rounding."""
    p, q = patch
    if p * q == 1:
        return x
    n, c, h, w = x.shape
    return x.reshape(n, c // (p * q), p, q, h, w).permute(0, 1, 4, 2, 5, 3).reshape(n, -1, h * p, w * q)
