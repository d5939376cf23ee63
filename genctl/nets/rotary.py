"""Rotary positions: queries and keys are turned by their place, so that their product knows how far apart they are.

Su et al. 2021, https://arxiv.org/abs/2104.09864.
"""

import math
from typing import Any

import torch
from pydantic import Field, model_validator
from torch import Tensor

from genctl.config import Settings


class Stretch(Settings):
    """Rotary positions made to reach further, as in Llama 3.1 (Grattafiori et al. 2024, https://arxiv.org/abs/2407.21783): turns so slow
    that fewer than `low` of them fit into `length` are slowed by `factor`, those of which `high` fit are left, and between lies a ramp."""

    factor: float = Field(8.0, ge=1, le=1e4)
    """How much slower."""
    low: float = Field(1.0, gt=0, le=1e4)
    """Turns in `length` below which all is slowed."""
    high: float = Field(4.0, gt=0, le=1e4)
    """Turns in `length` above which nothing is."""
    length: int = Field(8192, ge=1, le=10**7)
    """The context of the first training."""

    @model_validator(mode="after")
    def _ordered(self) -> "Stretch":
        if self.low >= self.high:
            raise ValueError(f"low {self.low} must be below high {self.high}")
        return self


def rotations(length: int, d: int, base: float = 10_000.0, stretch: Stretch | None = None) -> Tensor:
    """cos and signed sin, (2, length, d): position m turns the pair (i, i + d/2) by m / base^(2i/d) (RoFormer eq. 34, halves for pairs)."""
    speed = base ** (-torch.arange(0, d, 2) / d)
    if stretch:
        kept = ((stretch.length * speed / (2 * math.pi) - stretch.low) / (stretch.high - stretch.low)).clamp(0, 1)
        speed = speed * (kept + (1 - kept) / stretch.factor)
    angle = torch.arange(length)[:, None] * speed
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([torch.cat([cos, cos], 1), torch.cat([-sin, sin], 1)])


class _Turn(torch.autograd.Function):
    """x cos + roll(x) sin; the gradient turns back, so it costs what the forward pass costs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return (x * cos).addcmul_(x.roll(x.shape[-1] // 2, -1), sin)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        cos, sin = ctx.saved_tensors
        return (grad * cos).addcmul_(grad.roll(grad.shape[-1] // 2, -1), sin, value=-1), None, None


def turned(x: Tensor, turn: Tensor) -> Tensor:
    """x (B, S, heads, d) turned to its positions, whose rotations are `turn` (2, S, d)."""
    out: Tensor = _Turn.apply(x, turn[0, :, None], turn[1, :, None])  # type: ignore[no-untyped-call]
    return out
