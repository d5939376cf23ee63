"""Layers of normalising flows over rows of numbers: what decides the parameters of a bijector, by halves or number after number."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from genctl.maths.bijectors import Bijector
from genctl.nets.made import MADE
from genctl.nets.mlp import mlp


def _near_zero(layer: nn.Linear) -> None:
    """Parameters near the identity, not at it.

    Where the dimensions of the data are independent, as on a grid, the identity is a saddle point that training does not leave.
    """
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)


class Coupling(nn.Module):
    """(B, kept) -> (B, params, moved): the parameters by which one half moves, given the other."""

    def __init__(self, kept: int, moved: int, context: int, params: int, hidden: Sequence[int], activation: str) -> None:
        super().__init__()
        self.params = params
        self.net = mlp([kept + context, *hidden, params * moved], activation)
        last = self.net[-1]
        assert isinstance(last, nn.Linear)
        _near_zero(last)

    def forward(self, kept: Tensor, context: Tensor | None) -> Tensor:
        out: Tensor = self.net(kept if context is None else torch.cat([kept, context], 1))
        return out.view(len(kept), self.params, -1)


class Couplings(nn.Module):
    """`count` couplings, each of which moves one half of x given the other, in turn (Dinh et al. 2017, eq. 7 and 8)."""

    def __init__(
        self, size: int, bijector: Bijector, count: int, hidden: Sequence[int], activation: str = "relu", context: int = 0
    ) -> None:
        super().__init__()
        self.bijector, self.low = bijector, size // 2
        halves = (self.low, size - self.low)
        self.layers = nn.ModuleList(
            Coupling(halves[i % 2], halves[1 - i % 2], context, bijector.params, hidden, activation) for i in range(count)
        )

    def to_noise(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """z (B, D) and log |det dz/dy| (B,)."""
        kept, moved = y.tensor_split([self.low], 1)
        log_det = y.new_zeros(len(y))
        for layer in self.layers:
            out, slope = self.bijector.forward(moved, layer(kept, context))
            kept, moved, log_det = out, kept, log_det + slope.sum(1)
        return torch.cat([kept, moved] if len(self.layers) % 2 == 0 else [moved, kept], 1), log_det

    def from_noise(self, z: Tensor, context: Tensor | None) -> Tensor:
        """y (B, D) of z."""
        kept, moved = z.tensor_split([self.low], 1)
        if len(self.layers) % 2:
            kept, moved = moved, kept
        for layer in reversed(self.layers):
            kept, moved = moved, self.bijector.inverse(kept, layer(moved, context))
        return torch.cat([kept, moved], 1)


class Autoregressions(nn.Module):
    """`count` layers, in each of which every number moves given those before it, back to front in every other layer.

    One way is a single pass a layer, the other one pass a number. `inverse=False`: data to noise is the quick way (masked
    autoregressive flow, Papamakarios et al. 2017, https://arxiv.org/abs/1705.07057); True: noise to data is (inverse
    autoregressive flow, Kingma et al. 2016, https://arxiv.org/abs/1606.04934).
    """

    def __init__(
        self,
        size: int,
        bijector: Bijector,
        count: int,
        hidden: Sequence[int],
        activation: str = "relu",
        context: int = 0,
        inverse: bool = False,
    ) -> None:
        super().__init__()
        self.bijector, self.inverse = bijector, inverse
        self.layers = nn.ModuleList(MADE(size, bijector.params, hidden, activation, context) for _ in range(count))
        for layer in self.layers:
            _near_zero(layer.last)  # type: ignore[arg-type]

    def quick(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """One pass a layer."""
        log_det = x.new_zeros(len(x))
        for layer in self.layers:
            x, slope = self.bijector.forward(x, layer(x, context))
            x, log_det = x.flip(1), log_det + slope.sum(1)
        return x, log_det

    def slow(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """The inverse of `quick`, number after number, and its log-determinant."""
        log_det = y.new_zeros(len(y))
        for layer in reversed(self.layers):
            y = y.flip(1)
            x: list[Tensor] = []
            kept = layer.begin(len(y), context)  # type: ignore[operator]
            for i in range(y.shape[1]):
                theta, kept = layer.grow(kept, i, x[-1] if x else None)  # type: ignore[operator]
                x.append(self.bijector.inverse(y[:, i : i + 1], theta[:, :, None]).squeeze(1))
            back = torch.stack(x, 1)
            log_det = log_det - self.bijector.forward(back, layer(back, context))[1].sum(1)
            y = back
        return y, log_det

    def to_noise(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """z (B, D) and log |det dz/dy| (B,)."""
        return self.slow(y, context) if self.inverse else self.quick(y, context)

    def from_noise(self, z: Tensor, context: Tensor | None) -> Tensor:
        """y (B, D) of z."""
        return (self.quick(z, context) if self.inverse else self.slow(z, context))[0]
