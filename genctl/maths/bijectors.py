"""Monotone maps of single numbers with known derivatives: what the layers of a flow do to each dimension.

A bijector has `params` parameters a dimension, theta (B, params, D). `forward(x, theta)` answers y (B, D) and log dy/dx (B, D);
`inverse(y, theta)` answers x. At theta = 0 each is the identity.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class Bijector(Protocol):
    @property
    def params(self) -> int: ...
    def forward(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]: ...
    def inverse(self, y: Tensor, theta: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Additive:
    """y = x + t   (Dinh et al. 2015, https://arxiv.org/abs/1410.8516, eq. 10)"""

    params: int = 1

    def forward(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        return x + theta[:, 0], torch.zeros_like(x)

    def inverse(self, y: Tensor, theta: Tensor) -> Tensor:
        return y - theta[:, 0]


@dataclass(frozen=True)
class Affine:
    """y = x exp(s) + t, |s| softly below `bound`   (Dinh et al. 2017, https://arxiv.org/abs/1605.08803, eq. 8)"""

    bound: float = 3.0
    params: int = 2

    def scale(self, theta: Tensor) -> Tensor:
        return self.bound * torch.tanh(theta[:, 0] / self.bound)

    def forward(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        s = self.scale(theta)
        return torch.addcmul(theta[:, 1], x, s.exp()), s

    def inverse(self, y: Tensor, theta: Tensor) -> Tensor:
        return (y - theta[:, 1]) * (-self.scale(theta)).exp()


@dataclass(frozen=True)
class Spline:
    """A rational-quadratic spline of `bins` pieces on [-edge, edge], the identity outside.

    Durkan et al. 2019, Neural spline flows, https://arxiv.org/abs/1906.04032, section 3.1. theta holds widths, heights and inner
    slopes. What lies outside is clamped to the edge, where the slope is 1, and moved by what was clamped off: no mask is needed.
    """

    bins: int = 8
    edge: float = 4.0
    least: float = 1e-3  # of a width or height (as a share) and of a slope

    @property
    def params(self) -> int:
        return 3 * self.bins - 1

    def knots(self, theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x and y of the knots, and the slopes there: (B, bins + 1, D) each."""
        widths, heights, slopes = torch.split(theta, [self.bins, self.bins, self.bins - 1], 1)
        shares = torch.stack([widths, heights]).softmax(2) * (1 - self.bins * self.least) + self.least
        inner = 2 * self.edge * shares[:, :, :-1].cumsum(2) - self.edge
        ends = inner.new_full((2, len(theta), 1, theta.shape[2]), self.edge)
        x, y = torch.cat([-ends, inner, ends], 2)
        one = math.log(math.expm1(1 - self.least))  # softplus of it is 1 - least
        return x, y, F.pad(F.softplus(slopes + one) + self.least, (0, 0, 1, 1), value=1.0)

    def piece(self, at: Tensor, knots: Tensor, others: tuple[Tensor, Tensor], slopes: Tensor) -> tuple[Tensor, ...]:
        """For `at` (B, D), placed among `knots`: start and size of its piece there and in `others`, and the slopes at both ends."""
        low = (at[:, None] >= knots[:, 1:-1]).sum(1, keepdim=True)
        table = torch.stack([*others, slopes])  # (3, B, bins + 1, D)
        start = table.gather(2, low.expand(3, -1, -1, -1)).squeeze(2)
        stop = table.gather(2, (low + 1).expand(3, -1, -1, -1)).squeeze(2)
        return start[0], stop[0] - start[0], start[1], stop[1] - start[1], start[2], stop[2]

    def forward(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Eq. 4 and 5."""
        xs, ys, slopes = self.knots(theta)
        inside = x.clamp(-self.edge, self.edge)
        x0, w, y0, h, d0, d1 = self.piece(inside, xs, (xs, ys), slopes)
        s, xi = h / w, (inside - x0) / w
        both = xi * (1 - xi)
        below = s + (d0 + d1 - 2 * s) * both
        y = y0 + h * (s * xi.square() + d0 * both) / below
        rise = s.square() * (d1 * xi.square() + 2 * s * both + d0 * (1 - xi).square())
        return y + (x - inside), rise.log() - 2 * below.log()

    def inverse(self, y: Tensor, theta: Tensor) -> Tensor:
        """Eq. 6 to 8."""
        xs, ys, slopes = self.knots(theta)
        inside = y.clamp(-self.edge, self.edge)
        x0, w, y0, h, d0, d1 = self.piece(inside, ys, (xs, ys), slopes)
        s, up = h / w, inside - y0
        bend = up * (d0 + d1 - 2 * s)
        a, b, c = h * (s - d0) + bend, h * d0 - bend, -s * up
        xi = 2 * c / (-b - (b.square() - 4 * a * c).clamp(min=0).sqrt())
        return xi * w + x0 + (y - inside)
