"""Glow: a flow for pictures, of invertible 1x1 convolutions and affine couplings, that settles coarse and fine in turn.

Kingma and Dhariwal 2018, Glow: Generative Flow with Invertible 1x1 Convolutions, https://arxiv.org/abs/1807.03039.
"""

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from genctl.contract import Spec
from genctl.errors import GenctlError
from genctl.families.flow._flow import Flow, FlowConfig
from genctl.maths import ranks
from genctl.maths.bijectors import Affine
from genctl.nets.mlp import Width


def fold(x: Tensor, rows: int, columns: int) -> Tensor:
    """(B, C, H, W) -> (B, C rows columns, H / rows, W / columns): blocks of pixels become channels."""
    b, c, h, w = x.shape
    x = x.view(b, c, h // rows, rows, w // columns, columns).permute(0, 1, 3, 5, 2, 4)
    x = x.reshape(b, c * rows * columns, h // rows, w // columns)
    return x.contiguous(memory_format=torch.channels_last)  # a CPU convolves it twice as fast; what follows keeps the layout


def unfold(x: Tensor, rows: int, columns: int) -> Tensor:
    """The inverse of `fold`."""
    b, c, h, w = x.shape
    x = x.view(b, c // (rows * columns), rows, columns, h, w).permute(0, 1, 4, 2, 5, 3)
    return x.reshape(b, c // (rows * columns), h * rows, w * columns)


class Mixing(nn.Module):
    """ActNorm, then an invertible 1x1 convolution, as one product: y = W (exp(s) x + b) at every pixel   (table 1).

    W = P L (U + diag(d))   (eq. 10): its log-determinant is a sum, exact in float32, and its inverse two triangular solves.
    """

    order: Tensor
    sign: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.s, self.b = nn.Parameter(torch.zeros(channels)), nn.Parameter(torch.zeros(channels))
        p, lower, upper = torch.linalg.lu(torch.linalg.qr(torch.randn(channels, channels))[0])
        self.register_buffer("order", p.argmax(1))  # P, as the rows that it picks
        self.register_buffer("sign", upper.diagonal().sign())
        self.log_d = nn.Parameter(upper.diagonal().abs().log())
        self.lower, self.upper = nn.Parameter(lower.tril(-1)), nn.Parameter(upper.triu(1))

    def factors(self) -> tuple[Tensor, Tensor]:
        """L and U + diag(d)."""
        eye = torch.eye(len(self.s)).to(self.s)
        return self.lower.tril(-1) + eye, self.upper.triu(1) + eye * (self.sign * self.log_d.exp())

    def settle(self, x: Tensor) -> None:
        """Sets s and b so that exp(s) x + b has mean 0 and variance 1 in each channel, over the batches of all ranks (section 3.1)."""
        n, total, squares = ranks.total(torch.stack([v.sum((0, 2, 3)) for v in (torch.ones_like(x), x, x.square())]))
        self.s.copy_(-0.5 * (squares / n - (total / n).square()).clamp(min=1e-6).log())
        self.b.copy_(-total / n * self.s.exp())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """y and log |det dy/dx| (), the same for every x."""
        lower, upper = self.factors()
        w = (lower @ upper)[self.order]
        y = F.conv2d(x, (w * self.s.exp())[:, :, None, None], w @ self.b)
        return y, x.shape[2] * x.shape[3] * (self.s.sum() + self.log_d.sum())

    def inverse(self, y: Tensor) -> Tensor:
        lower, upper = self.factors()
        lower_inverse = torch.linalg.solve_triangular(lower, torch.eye(len(lower)).to(lower), upper=False, unitriangular=True)
        w = torch.linalg.solve_triangular(upper, lower_inverse, upper=True)[:, self.order]
        shrink = (-self.s).exp()
        return F.conv2d(y, (shrink[:, None] * w)[:, :, None, None], -shrink * self.b)


class Conditioner(nn.Module):
    """(B, kept, H, W), context (B, C) -> (B, 2, moved, H, W): 3x3, 1x1 and 3x3 convolutions, the last zero at first   (section 3.3)."""

    def __init__(self, kept: int, moved: int, hidden: int, context: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(kept, hidden, 3, padding=1), nn.Conv2d(hidden, hidden, 1)
        self.last = nn.Conv2d(hidden, 2 * moved, 3, padding=1)
        self.told = nn.Linear(context, hidden, bias=False) if context else None
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, kept: Tensor, context: Tensor | None) -> Tensor:
        h = self.first(kept)
        if self.told is not None and context is not None:
            h = h + self.told(context)[:, :, None, None]
        return self.last(self.second(h.relu()).relu()).unflatten(1, (2, -1))  # type: ignore[no-any-return]


class Step(nn.Module):
    """ActNorm, 1x1 convolution, and a coupling that moves half of the channels given the others   (figure 2a)."""

    def __init__(self, channels: int, hidden: int, context: int, affine: Affine) -> None:
        super().__init__()
        self.affine, self.moved = affine, channels // 2
        self.mixing = Mixing(channels)
        self.conditioner = Conditioner(channels - self.moved, self.moved, hidden, context)

    def forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """z and log |det dz/dx| (B,)."""
        x, log_det = self.mixing(x)
        moved, kept = x.tensor_split([self.moved], 1)
        moved, slope = self.affine.forward(moved, self.conditioner(kept, context))
        return torch.cat([moved, kept], 1), log_det + slope.flatten(1).sum(1)

    def inverse(self, z: Tensor, context: Tensor | None) -> Tensor:
        moved, kept = z.tensor_split([self.moved], 1)
        moved = self.affine.inverse(moved, self.conditioner(kept, context))
        x: Tensor = self.mixing.inverse(torch.cat([moved, kept], 1))
        return x


class Split(nn.Module):
    """Half of the channels leave as noise, under a Gaussian that those which stay decide   (section 3.6 of Dinh et al. 2017)."""

    def __init__(self, channels: int, affine: Affine) -> None:
        super().__init__()
        self.affine, self.stay = affine, channels - channels // 2
        self.prior = nn.Conv2d(self.stay, 2 * (channels // 2), 3, padding=1)
        nn.init.zeros_(self.prior.weight)
        nn.init.zeros_(self.prior.bias)  # type: ignore[arg-type]

    def theta(self, stay: Tensor) -> Tensor:
        out: Tensor = self.prior(stay).unflatten(1, (2, -1))
        return out

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What stays, the noise that leaves, and log |det| (B,)."""
        stay, leave = x.tensor_split([self.stay], 1)
        z, slope = self.affine.forward(leave, self.theta(stay))
        return stay, z, slope.flatten(1).sum(1)

    def inverse(self, stay: Tensor, z: Tensor) -> Tensor:
        return torch.cat([stay, self.affine.inverse(z, self.theta(stay))], 1)


class Glow(Flow):
    """Levels of a fold, some steps, and a split   (figure 2b). A side that is odd is not folded; where none is even, levels end."""

    kinds = frozenset({"image"})

    class Config(FlowConfig):
        levels: int = Field(2, ge=1, le=8)
        """Scales at most: at each, every even side is halved, and half of what is there leaves as noise (but for the last)."""
        steps: int = Field(8, ge=1, le=256)
        """Steps of flow a level."""
        hidden: Width = 64
        """Channels inside a coupling's network."""
        bound: float = Field(3.0, gt=0, le=20)
        """Largest |log-scale| of one coupling, approached softly."""

    def __init__(self, config: Config, spec: Spec) -> None:
        super().__init__(config, spec, least=2)
        (c, h, w), affine = spec.shape, Affine(config.bound)
        self.folds: list[tuple[int, int]] = []
        self.levels, self.splits = nn.ModuleList(), nn.ModuleList()
        for k in range(config.levels):
            rows, columns = 2 - h % 2, 2 - w % 2
            if rows * columns == 1 and k:
                break
            if k:
                self.splits.append(Split(c, affine))
                c -= c // 2
            c, h, w = c * rows * columns, h // rows, w // columns
            if c == 1:
                raise GenctlError("config", f"glow folds pixels into channels: {h}x{w} in one channel has no even side", "data.size=8")
            self.folds.append((rows, columns))
            self.levels.append(nn.ModuleList(Step(c, config.hidden, self.classes, affine) for _ in range(config.steps)))
        self.top = c, h, w

    def units(self) -> list[nn.Module]:
        return [step for level in self.levels for step in level]  # type: ignore[attr-defined]

    def settle(self, y: Tensor, context: Tensor | None) -> None:
        mixings = [m for m in self.modules() if isinstance(m, Mixing)]
        hooks = [m.register_forward_pre_hook(lambda m, args: m.settle(args[0])) for m in mixings]
        self.to_noise(y, context)
        for hook in hooks:
            hook.remove()

    def to_noise(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        x, log_det = y.view(-1, *self.spec.shape), y.new_zeros(len(y))
        left: list[Tensor] = []
        for k, (level, sides) in enumerate(zip(self.levels, self.folds, strict=True)):
            if k:
                x, z, added = self.splits[k - 1](x)
                left.append(z.flatten(1))
                log_det = log_det + added
            x = fold(x, *sides)
            for step in level:  # type: ignore[attr-defined]
                x, added = step(x, context)
                log_det = log_det + added
        return torch.cat([*left, x.flatten(1)], 1), log_det

    def from_noise(self, z: Tensor, context: Tensor | None) -> Tensor:
        x = z[:, -self.top[0] * self.top[1] * self.top[2] :].unflatten(1, self.top)
        left = z[:, : z.shape[1] - x[0].numel()]
        for k in reversed(range(len(self.levels))):
            for step in reversed(self.levels[k]):  # type: ignore[arg-type]
                x = step.inverse(x, context)
            x = unfold(x, *self.folds[k])
            if k:
                split: Split = self.splits[k - 1]  # type: ignore[assignment]
                size = split.prior.out_channels // 2 * x.shape[2] * x.shape[3]
                left, leave = left.tensor_split([left.shape[1] - size], 1)
                x = split.inverse(x, leave.unflatten(1, (-1, *x.shape[2:])))
        return x.flatten(1)
