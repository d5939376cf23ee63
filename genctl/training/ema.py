"""An exponential moving average of the parameters: what is sampled from, validated and shipped."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class EMA:
    """average <- decay * average + (1 - decay) * weights, once a step.

    The decay grows as (1 + step) / (10 + step) up to `decay`, so that the start is forgotten (as in TensorFlow's
    ExponentialMovingAverage, num_updates).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = dict(model.named_parameters())
        self.average: dict[str, Tensor] = {k: p.detach().clone() for k, p in self.weights.items()}
        self._pairs = list(self.average.values()), [p.detach() for p in self.weights.values()]

    @torch.no_grad()
    def update(self, step: int) -> None:
        if not self.average:  # a model of buffers alone
            return
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(*self._pairs, 1 - decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchanges the average with the weights."""
        for k, p in self.weights.items():
            kept = p.detach().clone()
            p.copy_(self.average[k])
            self.average[k].copy_(kept)

    @torch.no_grad()
    def ship(self) -> None:
        """Copies the average into the weights, at the end of a stage, so that the next one trains on what ships."""
        for k, p in self.weights.items():
            p.copy_(self.average[k])

    @contextmanager
    def applied(self) -> Iterator[None]:
        self.swap()
        try:
            yield
        finally:
            self.swap()
