"""What a network that takes noise away is told beside the picture: how much noise there is, the class, a text."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from genctl.contract import Spec
from genctl.nets.encoder import Encoder
from genctl.nets.mlp import mlp


class Told(NamedTuple):
    """emb (B, E): noise, class and text in one vector, behind an activation. tokens (B, L, E): the text, of which `seen` (B, L) is looked at."""

    emb: Tensor
    tokens: Tensor | None = None
    seen: Tensor | None = None


def sinusoids(t: Tensor, width: int, period: float = 10_000) -> Tensor:
    """(B,) -> (B, width): sines and cosines of t at frequencies from 1 to 1 / period."""
    half = width // 2
    frequency = torch.exp(-math.log(period) / half * torch.arange(half, device=t.device))
    angle = t[:, None].float() * frequency
    return torch.cat([angle.cos(), angle.sin(), angle.new_zeros(len(angle), width % 2)], 1)


class Teller(nn.Module):
    """Class and text as vectors, once for a whole walk; the noise at each of its steps.

    classes   of the label; 0: none. The class behind the last says nothing.
    text      rows of symbols; None: none. A row of ends says nothing.
    """

    def __init__(self, width: int, classes: int = 0, text: Spec | None = None, layers: int = 2) -> None:
        super().__init__()
        self.end = 0
        self.waves = max(2, width // 4)
        self.time = mlp([self.waves, width, width], "silu")
        self.label = nn.Embedding(classes + 1, width) if classes else None
        self.encoder: Encoder | None = None
        if text is not None:
            if text.end is None:
                raise ValueError("a text without an end symbol")
            self.end = text.end
            self.symbols = nn.Embedding(text.vocab, width)
            nn.init.normal_(self.symbols.weight, std=0.02)
            heads = next(h for h in (8, 4, 2, 1) if width % (2 * h) == 0)
            self.encoder = Encoder(width, layers, heads, text.size)
            self.pooled = nn.Linear(width, width)

    def tell(self, label: Tensor | None, text: Tensor | None) -> Told:
        """All but the noise; label (B,), text (B, L)."""
        emb: Tensor = next(self.parameters()).new_zeros(()) if label is None or self.label is None else self.label(label)
        if text is None or self.encoder is None:
            return Told(emb)
        ended = (text == self.end).long().cumsum(1)
        seen = (ended <= 1) & ((ended == 0) | (text == self.end))  # up to the first end, which is looked at
        tokens = self.encoder(self.symbols(text), seen)
        mean = (tokens * seen[..., None]).sum(1) / seen.sum(1, keepdim=True)
        return Told(emb + self.pooled(mean), tokens, seen)

    def forward(self, clock: Tensor, told: Told) -> Told:
        """clock (B,): the noise on a scale of hundreds."""
        return told._replace(emb=nn.functional.silu(self.time(sinusoids(clock, self.waves)) + told.emb))
