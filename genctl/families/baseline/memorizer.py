"""Memorizer: keeps training examples and deals them out again; the baseline that a test of memorisation must catch.

Nothing is learned. As samples its examples are perfect, which is why sample quality alone proves nothing (Theis et al. 2016,
A note on the evaluation of generative models, https://arxiv.org/abs/1511.01844, section 3.2).
"""

import torch
from pydantic import Field
from torch import Tensor

from genctl import contract
from genctl.config import Settings
from genctl.contract import Batch, Family, Given, Loss, Player, Progress, Spec, Stage
from genctl.errors import GenctlError
from genctl.maths import noise, ranks

MOST = 2**30  # numbers or symbols to keep


class Memorizer(Family):
    """Draws training examples, with replacement."""

    class Config(Settings):
        capacity: int = Field(10_000, ge=1, le=10_000_000)
        """Examples to keep: the first so many that training shows."""

    def __init__(self, config: Config, spec: Spec) -> None:
        super().__init__(config, spec)
        if config.capacity * spec.size > MOST:
            raise GenctlError("config", f"model.capacity: {config.capacity} examples of {spec.size} numbers are more than {MOST}")
        self.register_buffer("kept", self.noise(config.capacity))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))

    def noise(self, n: int) -> Tensor:
        """What is dealt out before training: anything in the data's range."""
        if not self.spec.vocab:
            return torch.rand(n, *self.spec.shape).round() if self.spec.levels == 2 else torch.rand(n, *self.spec.shape)
        x = torch.randint(self.spec.vocab, (n, *self.spec.shape))
        ended = (x == self.spec.end).cumsum(-1) > 0 if self.spec.end is not None and self.spec.shape else torch.zeros_like(x) > 0
        return torch.where(ended, self.spec.end or 0, x)

    def stages(self) -> list[Stage]:
        return [Stage(name="train", players=[Player(name="memory", params=[], loss=self.keep)])]

    def keep(self, batch: Batch, at: Progress) -> Loss:
        """Keeps what fits; the loss is the share of the memory that is still empty."""
        rows, capacity = ranks.gather(batch.x), self.config.capacity
        place = self.count + torch.arange(len(rows), device=rows.device)
        fits = place < capacity
        self.kept[place[fits]] = rows[fits]
        self.count.add_(fits.sum())
        return Loss(1 - self.count.float() / capacity)

    def sample(self, n: int, draw: contract.Draw, given: Given | None = None) -> Tensor:
        known = int(self.count) or self.config.capacity
        return self.kept[noise.randint(known, n, device=self.device)]
