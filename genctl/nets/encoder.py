"""A transformer that looks to both sides, with its norms in front of each half of a block or behind it.

Norms behind: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, and Devlin et al. 2018, https://arxiv.org/abs/1810.04805; in front: Xiong et
al. 2020, https://arxiv.org/abs/2002.04745.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genctl.nets.rotary import rotations
from genctl.nets.transformer import Activation, Block, Looked, looks, normed


class Behind(Block):
    """norm(h + attention(h)), then norm(h + network(h))."""

    def __init__(self, *sizes: Any, **how: Any) -> None:
        super().__init__(*sizes, **how)
        self.behind1, self.behind2 = self.norm1, self.norm2
        self.norm1 = self.norm2 = nn.Identity()

    def forward(self, h: Tensor, turn: Tensor | None, seen: Tensor | None = None, memory: Looked | None = None) -> Tensor:
        h = self.behind1(self.add(h, self.attention.out(self.attention(h, turn, seen))))
        out: Tensor = self.behind2(self.think(h))
        return out


class Encoder(nn.Module):
    """Vectors (B, S, width), S <= length, to vectors of the same shape, each a function of all that are looked at.

    behind    the norms stand behind what they norm, the first behind the embedding; otherwise in front, the last at the end
    """

    turns: Tensor | None

    def __init__(
        self,
        width: int,
        layers: int,
        heads: int,
        length: int,
        *,
        behind: bool = False,
        rotary: bool = True,
        qk_norm: bool = True,
        bias: bool = False,
        activation: Activation = "gelu",
        eps: float = 0.0,
        inner: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        block = Behind if behind else Block
        self.blocks = nn.ModuleList(
            block(width, heads, heads, inner or 4 * width, bias, qk_norm, activation, "layer", dropout, causal=False, eps=eps)
            for _ in range(layers)
        )
        self.norm, self.behind, self.dropout = normed("layer", width, bias, eps), behind, dropout
        self.position = None if rotary else nn.Parameter(0.02 * torch.randn(length, width))
        self.register_buffer("turns", rotations(length, width // heads) if rotary else None, persistent=False)
        for name, p in self.blocks.named_parameters():
            if p.ndim > 1:
                nn.init.normal_(p, std=0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(p)

    def place(self, h: Tensor, seen: Tensor | None) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """What the first block is told: vectors at their positions, rotations, and which vectors are looked at (B, 1, 1, S)."""
        size = h.shape[1]
        h = h if self.position is None else h + self.position[:size]
        h = self.norm(h) if self.behind else h
        h = F.dropout(h, self.dropout, self.training) if self.dropout else h
        return h, None if self.turns is None else self.turns[:, :size], None if seen is None else seen[:, None, None]

    def forward(self, h: Tensor, seen: Tensor | None) -> Tensor:
        """seen (B, S): True for vectors that are looked at; None: all."""
        h, turn, mask = self.place(h, seen)
        for block in self.blocks:
            h = block(h, turn, mask)
        out: Tensor = h if self.behind else self.norm(h)
        return out

    def looks(self, h: Tensor, seen: Tensor | None) -> Tensor:
        """(B, layers, heads, S, S): how much each vector takes from each, in every layer."""
        return looks(self.blocks, *self.place(h, seen))
