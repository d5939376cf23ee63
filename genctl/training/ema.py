"""An exponential moving average of the parameters: what is sampled from, validated and shipped."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

MOST = 8  # steps between moves


class EMA:
    """average <- decay^k * average + (1 - decay^k) * weights, every k-th step.

    The decay grows as (1 + step) / (10 + step) up to `decay`, so that the start is forgotten (as in TensorFlow's
    ExponentialMovingAverage, num_updates). k is what leaves each move small, a hundredth at the most: an average over a thousand
    steps does not need to read and write all weights at each of them, which for a small network is a tenth of a step.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.every = min(MOST, max(1, round(0.01 / (1 - decay))))
        self.weights = dict(model.named_parameters())
        self.average: dict[str, Tensor] = {k: p.detach().clone() for k, p in self.weights.items()}
        self._pairs = list(self.average.values()), [p.detach() for p in self.weights.values()]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """After step `step`, counted from 0."""
        if not self.average or (step + 1) % self.every:  # a model of buffers alone has no average
            return
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(*self._pairs, 1 - decay**self.every)

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
