"""A masked network: output i is a function of inputs before i alone, so that one pass gives every factor of a density.

Germain et al. 2015, MADE, https://arxiv.org/abs/1502.03509. Hidden units are sorted by their degree, how many inputs they see. A unit is
known once so many inputs are, so that going through the inputs one by one (`begin`, `grow`) computes each unit once: all of a drawing
costs one pass.
"""

import bisect
import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genctl.nets.mlp import ACTIVATIONS

Kept = list[Tensor]


class MaskedLinear(nn.Linear):
    """Linear (B, in) -> (B, out) where only the pairs marked in `mask` (out, in) are connected."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask.float(), persistent=False)
        with torch.no_grad():  # as wide a start as a full layer of as many inputs as are connected
            self.weight.mul_((mask.shape[1] / mask.float().sum(1, keepdim=True).clamp(min=1)).sqrt())

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.mask, self.bias)

    def some(self, x: Tensor, rows: slice) -> Tensor:
        """Some of the outputs; inputs that are masked may hold anything finite."""
        return F.linear(x, self.weight[rows] * self.mask[rows], self.bias[rows])


class MADE(nn.Module):
    """(B, D), context (B, C) -> (B, params, D): the parameters of dimension i see inputs 0..i - 1 and all of the context. D >= 2."""

    def __init__(self, size: int, params: int, hidden: Sequence[int], activation: str = "relu", context: int = 0) -> None:
        super().__init__()
        self.params, self.size = params, size
        least = 0 if context else 1  # units of degree 0 see the context alone
        degrees = [[*range(1, size + 1), *[0] * context]]
        degrees += [[i * (size - least) // h + least for i in range(h)] for h in hidden]
        self.bounds = [[bisect.bisect_left(d, k) for k in range(size + 1)] for d in degrees[1:]]
        self.activation = ACTIVATIONS[activation]()
        self.hidden = nn.ModuleList(
            MaskedLinear(torch.tensor(above)[:, None] >= torch.tensor(below)) for below, above in itertools.pairwise(degrees)
        )
        last = torch.arange(1, size + 1).repeat_interleave(params)
        self.last = MaskedLinear(last[:, None] > torch.tensor(degrees[-1]))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        h = x if context is None else torch.cat([x, context], 1)
        for layer in self.hidden:
            h = self.activation(layer(h))
        out: Tensor = self.last(h).view(len(x), self.size, self.params)
        return out.transpose(1, 2)

    def begin(self, n: int, context: Tensor | None = None) -> Kept:
        """What is known before the first input: the inputs and every hidden layer, zero where they are not known yet."""
        x = self.last.weight.new_zeros(n, self.size)
        return [x if context is None else torch.cat([x, context], 1), *(x.new_zeros(n, int(m.out_features)) for m in self.hidden)]  # type: ignore[arg-type]

    def grow(self, kept: Kept, t: int, x: Tensor | None = None) -> tuple[Tensor, Kept]:
        """The parameters (n, params) of input t, once input t - 1 is known to be x (n,); and what is known then."""
        below = kept[0] if x is None else kept[0].index_copy(1, torch.tensor([t - 1], device=x.device), x[:, None])
        new = [below]
        for layer, old, bounds in zip(self.hidden, kept[1:], self.bounds, strict=True):
            units = slice(bounds[t], bounds[t + 1] if t + 1 < len(bounds) else None)
            fresh = self.activation(layer.some(below, units))  # type: ignore[operator]
            below = torch.cat([old[:, : units.start], fresh, old[:, units.start + fresh.shape[1] :]], 1)
            new.append(below)
        return self.last.some(below, slice(t * self.params, (t + 1) * self.params)), new
