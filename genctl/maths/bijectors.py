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

    def piece(self, at: Tensor, theta: Tensor, axis: int) -> tuple[Tensor, ...]:
        """The piece that `at` (B, D) on the axis of x (0) or y (1) falls in: its start and size on both, and the slopes at its ends."""
        sizes, slopes = torch.split(theta, [2 * self.bins, self.bins - 1], 1)
        shares = sizes.view(len(theta), 2, self.bins, -1).softmax(2) * (1 - self.bins * self.least) + self.least
        sizes = 2 * self.edge * shares
        with torch.no_grad():
            low = (at[:, None] + self.edge >= sizes.cumsum(2)[:, axis, :-1]).sum(1, keepdim=True)  # (B, 1, D) pieces that end below
            below = (torch.arange(self.bins, device=at.device)[:, None] < low).to(at.dtype)
        x0, y0 = ((sizes * below[:, None]).sum(2) - self.edge).unbind(1)
        w, h = sizes.gather(2, low[:, None].expand(-1, 2, -1, -1)).squeeze(2).unbind(1)
        one = math.log(math.expm1(1 - self.least))  # softplus of it is 1 - least: a slope of 1 where theta is 0, and at the edges
        ends = F.pad(slopes, (0, 0, 1, 1)).gather(1, torch.cat([low, low + 1], 1))
        d0, d1 = (F.softplus(ends + one) + self.least).unbind(1)
        return x0, w, y0, h, d0, d1

    def forward(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Eq. 4 and 5."""
        inside = x.clamp(-self.edge, self.edge)
        x0, w, y0, h, d0, d1 = self.piece(inside, theta, 0)
        s, xi = h / w, (inside - x0) / w
        both = xi * (1 - xi)
        below = s + (d0 + d1 - 2 * s) * both
        y = y0 + h * (s * xi.square() + d0 * both) / below
        rise = s.square() * (d1 * xi.square() + 2 * s * both + d0 * (1 - xi).square())
        return y + (x - inside), rise.log() - 2 * below.log()

    def inverse(self, y: Tensor, theta: Tensor) -> Tensor:
        """Eq. 6 to 8."""
        inside = y.clamp(-self.edge, self.edge)
        x0, w, y0, h, d0, d1 = self.piece(inside, theta, 1)
        s, up = h / w, inside - y0
        bend = up * (d0 + d1 - 2 * s)
        a, b, c = h * (s - d0) + bend, h * d0 - bend, -s * up
        xi = 2 * c / (-b - (b.square() - 4 * a * c).clamp(min=0).sqrt())
        return xi * w + x0 + (y - inside)
