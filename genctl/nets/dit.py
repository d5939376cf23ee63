"""DiT: a transformer over patches of a picture, told the noise through the scale, shift and gate of its norms.

Peebles and Xie 2023, https://arxiv.org/abs/2212.09748 (adaLN-zero). A text stands in front of the patches, in one row with them.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genctl.nets.told import Told
from genctl.nets.unet import fold, unfold


class DiTBlock(nn.Module):
    """h + gate attention(norm(h)), then h + gate network(norm(h)); (B, S, width) both ways."""

    def __init__(self, width: int, heads: int, emb: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.adapt = nn.Linear(emb, 6 * width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        nn.init.zeros_(self.adapt.weight)
        nn.init.zeros_(self.adapt.bias)

    def forward(self, h: Tensor, emb: Tensor, seen: Tensor | None) -> Tensor:
        shift, scale, gate, shift2, scale2, gate2 = self.adapt(emb)[:, None].chunk(6, -1)
        q, k, v = self.qkv(normed(h, scale, shift)).view(*h.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, seen).transpose(1, 2).flatten(2)
        h = h + gate * F.dropout(self.out(mixed), self.dropout, self.training)
        thought = self.narrow(F.gelu(self.wide(normed(h, scale2, shift2)), approximate="tanh"))
        out: Tensor = h + gate2 * F.dropout(thought, self.dropout, self.training)
        return out


def normed(h: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return torch.addcmul(shift, F.layer_norm(h, h.shape[-1:]), 1 + scale)


class DiT(nn.Module):
    """(B, *shape) -> (B, out, ...): `layers` blocks of attention over patches of `patch` pixels a side; sizes as for the U-Net."""

    def __init__(
        self,
        shape: Sequence[int],
        width: int,
        layers: int,
        heads: int,
        emb: int,
        patch: int = 1,
        dropout: float = 0.0,
        text: int = 0,
        out: int = 0,
    ) -> None:
        super().__init__()
        self.flat, self.frames = len(shape) == 2, shape[0] if len(shape) == 4 else 1
        self.patch = (1 if self.flat else patch, patch)
        c, high, wide = (shape[0], 1, shape[1]) if self.flat else shape[-3:]
        area, places = self.patch[0] * self.patch[1], self.frames * -(-high // self.patch[0]) * -(-wide // patch)
        self.first, self.position = nn.Linear(c * area, width), nn.Parameter(0.02 * torch.randn(places, width))
        self.text = nn.Linear(text, width) if text else None
        self.blocks = nn.ModuleList([DiTBlock(width, heads, emb, dropout) for _ in range(layers)])
        self.adapt, self.last = nn.Linear(emb, 2 * width), nn.Linear(width, (out or c) * area)
        for m in (self.adapt, self.last):
            nn.init.zeros_(m.weight)
            nn.init.zeros_(m.bias)

    def forward(self, x: Tensor, told: Told) -> Tensor:
        shape = x.shape
        x = x[:, :, None] if self.flat else x.flatten(0, 1) if self.frames > 1 else x
        height, width = x.shape[2:]
        grid = fold(x, self.patch)
        high, wide = grid.shape[2:]
        h = self.first(grid.flatten(2).transpose(1, 2)).reshape(shape[0], -1, self.position.shape[1]) + self.position
        front, seen = 0, None
        if self.text is not None and told.tokens is not None:
            front = told.tokens.shape[1]
            h = torch.cat([self.text(told.tokens), h], 1)
            if told.seen is not None:
                seen = F.pad(told.seen, (0, h.shape[1] - front), value=True)[:, None, None]
        for block in self.blocks:
            h = block(h, told.emb, seen)
        scale, shift = self.adapt(told.emb)[:, None].chunk(2, -1)
        y = self.last(normed(h[:, front:], scale, shift)).reshape(len(x), high, wide, -1).permute(0, 3, 1, 2)
        y = unfold(y, self.patch)[..., :height, :width]
        return y[:, :, 0] if self.flat else y.reshape(*shape[:2], *y.shape[1:]) if self.frames > 1 else y
