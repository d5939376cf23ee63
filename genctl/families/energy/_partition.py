"""The partition function of an energy model, computed once for the weights as they are."""

from abc import abstractmethod

import torch

from genctl.contract import Family
from genctl.maths import noise


class Partitioned(Family):
    """log p(x) = -energy(x) - log Z."""

    _known: tuple[list[float], tuple[float, float]] | None = None  # log Z, and for which weights

    @abstractmethod
    def partition(self) -> tuple[float, float]:
        """log Z and its standard error (0: exact); under no_grad and in a stream of its own."""

    def log_partition(self) -> tuple[float, float]:
        """The same, computed anew only when the weights have moved; fused optimisers do not count a tensor's versions, so its norm says so."""
        with torch.no_grad():
            norms = torch.stack(torch._foreach_norm([p.double() for p in self.parameters()])).tolist()
        if self._known is None or self._known[0] != norms:
            with torch.no_grad(), noise.stream("log Z"):
                self._known = norms, self.partition()
        return self._known[1]
