"""Rows of symbols, each predicted from those before it: scored, drawn and gone on with, whatever predicts. Grids are read in raster order."""

from abc import abstractmethod

import torch
from torch import Tensor

from genctl.contract import Batch, Family, Given, Loss, Progress
from genctl.errors import GenctlError
from genctl.maths import decoding
from genctl.nets.symbols import rule


class Ordered(Family):
    """p(x) = prod_t p(x_t | x_1 .. x_{t-1}), scored by `nats` and drawn by `start` and `step`, whatever they are computed by."""

    kinds = frozenset({"tokens"})
    log_prob_is = "exact"
    Draw = decoding.Draw

    @abstractmethod
    def nats(self, batch: Batch) -> Tensor:
        """(B, T) -log p of each symbol, 0 beyond the end."""

    def window(self, length: int) -> int:
        """The longest row that is read as one when `length` symbols are drawn."""
        return self.spec.size

    def loss(self, batch: Batch, at: Progress) -> Loss:
        """Nats per symbol."""
        x = batch.x.flatten(1)
        mask = decoding.live(x, self.spec.end)
        count = float(x.numel()) if mask is None else mask.sum()
        return Loss(self.nats(batch).sum() / count, weight=count)

    def sample(self, n: int, draw: decoding.Draw, given: Given | None = None) -> Tensor:
        return self.draw(n, draw, given)

    def log_prob(self, batch: Batch) -> Tensor:
        return -self.nats(batch).sum(1)

    def impute(self, batch: Batch, draw: decoding.Draw) -> Tensor:
        """Goes on from an observed beginning of each row; they may differ in length."""
        x = batch.x.flatten(1)
        seen = torch.ones_like(x, dtype=torch.bool) if batch.mask is None else batch.mask.flatten(1)
        if bool((seen[:, 1:] & ~seen[:, :-1]).any()):
            raise GenctlError("power", "this family goes on from an observed beginning; this mask shows other places too")
        return self.draw(len(x), draw, batch.given, x, seen)

    def draw(
        self, n: int, draw: decoding.Draw, given: Given | None = None, prompt: Tensor | None = None, seen: Tensor | None = None
    ) -> Tensor:
        """(n, *shape), or (n, draw.length) where another length is asked of a row."""
        size = self.spec.size
        length = draw.length if draw.length and len(self.spec.shape) == 1 else size
        x = decoding.rows(
            self,
            n,
            length,
            draw,
            window=self.window(length),
            end=self.spec.end,
            given=given,
            prompt=prompt,
            seen=seen,
            rule=rule(draw, self.spec),
        )
        return x if length != size else x.view(n, *self.spec.shape)
