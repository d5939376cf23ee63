"""Rows of symbols, each predicted from those before it by a network: all that such families have in common but that.

A learned vector stands before the first symbol; what stands beside x and is named in `conditions` stands in front of that, as vectors.
Grids are read in raster order.
"""

from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from genctl.config import Settings
from genctl.contract import Batch, Given, Loss, Progress, Spec
from genctl.errors import GenctlError, safe_text
from genctl.families.autoregressive._ordered import Ordered
from genctl.maths import decoding
from genctl.nets.embed import Reader
from genctl.powers import State


class NextConfig(Settings):
    """The keys that all of them take."""

    tied: bool = True
    """The output layer is the embedding, transposed."""
    conditions: list[str] = Field(default_factory=list, max_length=16)
    """Names beside x, such as label, that x is conditional on."""


class Next(Ordered):
    """By a network: a family sets `net`, with `forward` over whole rows of vectors and `extend` on from a state."""

    net: Any

    def __init__(self, config: Any, spec: Spec, width: int) -> None:
        """width: of the vectors that the network reads and of those that it answers with."""
        super().__init__(config, spec)
        for name in config.conditions:
            if name not in spec.given:
                beside = ", ".join(spec.given) or "nothing"
                raise GenctlError("config", f"model.conditions: '{safe_text(name)}' does not stand beside this data; {beside} does")
        self.conditions = tuple(config.conditions)
        self.readers = nn.ModuleDict({name: Reader(spec.given[name], width) for name in config.conditions})
        self.first = nn.Parameter(0.02 * torch.randn(width))
        self.embed = nn.Embedding(spec.vocab, width)
        nn.init.normal_(self.embed.weight, std=0.02)

    def finish(self, width: int) -> None:
        """The output layer, once the network stands."""
        self.head = None if self.config.tied else nn.Linear(width, self.spec.vocab, bias=False)
        if self.head is not None:
            nn.init.zeros_(self.head.weight)

    # --- the network ---

    def front(self, n: int, given: Given | None) -> Tensor:
        """What stands before x, as vectors (n, P, width)."""
        start = self.first.expand(n, 1, -1)
        if not self.readers:
            return start
        return torch.cat([*(read((given or {})[name]) for name, read in self.readers.items()), start], 1)

    def score(self, h: Tensor) -> Tensor:
        """(..., V) logits of the symbol behind each vector."""
        return F.linear(h, self.embed.weight if self.head is None else self.head.weight)

    def logits(self, x: Tensor, given: Given | None) -> Tensor:
        """(B, T, V): of each symbol of x (B, T), given those before it."""
        front = self.front(len(x), given)
        h = self.net(torch.cat([front, self.embed(x[:, :-1])], 1))
        return self.score(h[:, front.shape[1] - 1 :] if front.shape[1] > 1 else h)

    def nats(self, batch: Batch) -> Tensor:
        x = batch.x.flatten(1)
        nats = F.cross_entropy(self.logits(x, batch.given).flatten(0, 1), x.flatten(), reduction="none").view_as(x)
        mask = decoding.live(x, self.spec.end)
        return nats if mask is None else nats * mask

    # --- the contract ---

    def loss(self, batch: Batch, at: Progress) -> Loss:
        if self.spec.end is not None:
            return super().loss(batch, at)
        x = batch.x.flatten(1)
        return Loss(F.cross_entropy(self.logits(x, batch.given).flatten(0, 1), x.flatten()), weight=float(x.numel()))

    def start(self, n: int, given: Given | None) -> tuple[Tensor, State]:
        h, state = self.net.extend(self.front(n, given), None)
        return self.score(h[:, -1]), state

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, Any]:
        h, state = self.net.extend(self.embed(tokens), state)
        return self.score(h), state
