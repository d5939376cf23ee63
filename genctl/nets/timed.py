"""A plain network over rows of numbers that is told the noise."""

import torch.nn.functional as F
from torch import Tensor, nn

from genctl.nets.mlp import mlp, waves
from genctl.nets.told import Told


class TimedMLP(nn.Module):
    """(B, D) -> (B, out): residual layers of `width`, each told the embedding.

    octaves: x is read beside its sines and cosines at so many octaves.
    """

    def __init__(self, size: int, width: int, depth: int, emb: int, octaves: int = 0, out: int = 0) -> None:
        super().__init__()
        self.octaves = octaves
        self.first, self.last = nn.Linear(size * (1 + 2 * octaves), width), nn.Linear(width, out or size)
        self.told = nn.ModuleList([nn.Linear(emb, width) for _ in range(depth)])
        self.layers = nn.ModuleList([mlp([width, width, width], "silu") for _ in range(depth)])
        nn.init.zeros_(self.last.weight)

    def forward(self, x: Tensor, told: Told) -> Tensor:
        h: Tensor = self.first(waves(x, self.octaves))
        for linear, layer in zip(self.told, self.layers, strict=True):
            h = h + layer(F.silu(h + linear(told.emb)))
        out: Tensor = self.last(F.silu(h))
        return out
