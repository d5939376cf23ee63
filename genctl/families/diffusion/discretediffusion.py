"""Masked diffusion of symbols: some are hidden, a transformer guesses them from the rest, and a draw reveals all of them bit by bit.

Austin et al. 2021, https://arxiv.org/abs/2107.03006 (absorbing states), in the form of Sahoo et al. 2024, https://arxiv.org/abs/2406.07524: a
network that need not be told the time. Its bound is the mean over all orders of the symbols (Hoogeboom et al. 2022,
https://arxiv.org/abs/2110.02037); the surest first: Chang et al. 2022, https://arxiv.org/abs/2202.04200.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from genctl import contract
from genctl.config import Settings
from genctl.contract import Batch, Family, Given, Loss, Progress, Spec
from genctl.errors import GenctlError
from genctl.maths import noise
from genctl.nets.encoder import Encoder
from genctl.nets.mlp import Width


class DiscreteDiffusion(Family):
    """x (B, T) of symbols, or a grid of them in raster order; hidden ones are the symbol behind the last."""

    kinds = frozenset({"tokens"})
    log_prob_is = "bound"

    class Config(Settings):
        layers: int = Field(4, ge=1, le=96)
        """Blocks of attention to both sides."""
        heads: int = Field(4, ge=1, le=256)
        """Heads of attention."""
        width: Width = 128
        """Numbers of a vector."""
        dropout: float = Field(0.0, ge=0, lt=1)
        """Inside the blocks."""
        conditional: bool = False
        """Draw given the class label."""
        unlabel: float = Field(0.1, ge=0, lt=1)
        """The share of training examples whose label is hidden, for guidance."""
        likelihood_steps: int = Field(32, ge=1, le=10_000)
        """Calls of the network for the bound."""

    class Draw(contract.Draw):
        steps: int = Field(64, ge=1, le=100_000)
        """Calls of the network; as many as there are symbols, or more, reveal them one by one, which is exact."""
        order: Literal["random", "surest"] = "random"
        """Which are revealed first: any, as in training, or those of which the network is surest: cleaner, less varied."""
        temperature: float = Field(1.0, gt=0, le=100)
        """Below 1: likelier symbols."""
        guidance: float = Field(0.0, ge=0, le=100)
        """How far to go beyond the conditional logits, away from the unconditional ones; conditional models only."""

    def __init__(self, config: Config, spec: Spec) -> None:
        super().__init__(config, spec)
        if config.width % config.heads:
            raise GenctlError("config", f"model.heads: {config.heads} do not divide model.width {config.width}")
        self.embed, self.out = nn.Embedding(spec.vocab + 1, config.width), nn.Linear(config.width, spec.vocab)
        self.body = Encoder(config.width, config.layers, config.heads, spec.size, rotary=False, dropout=config.dropout)
        nn.init.normal_(self.embed.weight, std=0.02)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.unknown = self.labelled(config.conditional)
        if self.unknown:
            self.label = nn.Embedding(self.unknown + 1, config.width)
            nn.init.normal_(self.label.weight, std=0.02)

    def guess(self, x: Tensor, hidden: Tensor, label: Tensor | None) -> Tensor:
        """Logits (B, T, V) of every symbol, of x (B, T) where it is not hidden."""
        h = self.embed(x.masked_fill(hidden, self.spec.vocab))
        h = h if label is None else h + self.label(label)[:, None]
        out: Tensor = self.out(self.body(h, None))
        return out

    def told(self, given: Given | None) -> Tensor | None:
        return given["label"] if given and self.unknown else None

    def nats(self, x: Tensor, u: Tensor, label: Tensor | None) -> Tensor:
        """An estimate (B,) of -log p(x): the first k of a random order hidden, k by u (B,), and T / k times what the hidden cost."""
        n, size = x.shape
        k = 1 + (u * size).long().clamp(max=size - 1)
        place = noise.rand(n, size, device=x.device).argsort(1).argsort(1)
        hidden = place < k[:, None]
        each = F.cross_entropy(self.guess(x, hidden, label).transpose(1, 2), x, reduction="none")
        return (each * hidden).sum(1) * (size / k)

    def loss(self, batch: Batch, at: Progress) -> Loss:
        """The bound on -log p(x), nats."""
        n, label = len(batch.x), self.told(batch.given)
        if label is not None:
            unsaid = (noise.rand(n, device=self.device) < self.config.unlabel) & self.training
            label = label.masked_fill(unsaid, self.unknown)
        return Loss(self.nats(batch.x.flatten(1), noise.rand(n, device=self.device), label).mean())

    def log_prob(self, batch: Batch) -> Tensor:
        """The bound (B,), from `likelihood_steps` numbers of hidden symbols, evenly spread."""
        x, label, m = batch.x.flatten(1), self.told(batch.given), self.config.likelihood_steps
        parts = [self.nats(x, (j + noise.rand(len(x), device=x.device)) / m, label) for j in range(m)]
        return -torch.stack(parts).mean(0)

    def sample(self, n: int, draw: Draw, given: Given | None = None) -> Tensor:
        x = torch.zeros(n, self.spec.size, dtype=torch.long, device=self.device)
        return self.reveal(x, torch.ones_like(x, dtype=torch.bool), draw, self.told(given))

    def impute(self, batch: Batch, draw: Draw) -> Tensor:
        """What is missing, given all that is there."""
        label = self.told({k: batch.given[k] for k in self.conditions})
        return self.reveal(batch.x.flatten(1), ~batch.mask.flatten(1), draw, label)

    def reveal(self, x: Tensor, hidden: Tensor, draw: Draw, label: Tensor | None) -> Tensor:
        """x (B, *shape) with what is hidden drawn, an even share of it at each step."""
        seen, before, total = ~hidden, x, hidden.sum(1, keepdim=True)
        order = noise.rand(*x.shape, device=x.device)
        steps = min(draw.steps, max(1, int(total.max())))
        for k in range(steps):
            logits = self.guess(x, hidden, label)
            if label is not None and draw.guidance:
                logits = logits + draw.guidance * (logits - self.guess(x, hidden, torch.full_like(label, self.unknown)))
            drawn = noise.categorical(logits / draw.temperature)
            if draw.order == "surest":
                order = -logits.log_softmax(-1).gather(-1, drawn[..., None])[..., 0]
            left = total - (total * (k + 1) + steps - 1) // steps  # that stay hidden
            place = order.masked_fill(~hidden, -torch.inf).argsort(1, descending=True).argsort(1)
            stay = hidden & (place < left)
            x, hidden = torch.where(hidden & ~stay, drawn, x), stay
        if self.spec.end is not None:
            over = (x == self.spec.end).long().cumsum(1) - (x == self.spec.end).long() > 0
            x = x.masked_fill(over & ~seen, self.spec.end)
        return torch.where(seen, before, x).view(-1, *self.spec.shape)
