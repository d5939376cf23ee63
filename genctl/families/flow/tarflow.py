"""TarFlow: pictures or clips patch by patch, each scaled and shifted by a transformer given those before it, to and fro by turns.

Zhai et al. 2024, Normalizing Flows are Capable Generative Models, https://arxiv.org/abs/2412.06329.
"""

import math

import torch
from pydantic import Field
from torch import Tensor, nn

from genctl.contract import Batch, Given, Spec
from genctl.errors import GenctlError
from genctl.families.flow._flow import Flow, FlowConfig
from genctl.maths import noise
from genctl.maths.bijectors import Affine
from genctl.nets.mlp import Width
from genctl.nets.transformer import Transformer


class Block(nn.Module):
    """An autoregression over patches (B, T, P): a start vector and the patches before it decide how each moves."""

    def __init__(self, count: int, size: int, width: int, layers: int, heads: int, context: int, affine: Affine) -> None:
        super().__init__()
        self.affine = affine
        self.start = nn.Parameter(0.02 * torch.randn(width))
        self.told = nn.Linear(context, width, bias=False) if context else None
        self.first, self.last = nn.Linear(size, width), nn.Linear(width, 2 * size)
        self.transformer = Transformer(width, layers, heads, count, rotary=False)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def begin(self, n: int, context: Tensor | None) -> Tensor:
        """The start vector (B, 1, width), told the label."""
        start = self.start.expand(n, 1, -1)
        return start if self.told is None or context is None else start + self.told(context)[:, None]

    def theta(self, h: Tensor) -> Tensor:
        """(B, S, width) -> (B, 2, S, P)."""
        return self.last(h).unflatten(2, (2, -1)).transpose(1, 2)  # type: ignore[no-any-return]

    def forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """z (B, T, P) and log |det dz/dx| (B,)."""
        h = torch.cat([self.begin(len(x), context), self.first(x[:, :-1])], 1)
        z, slope = self.affine.forward(x, self.theta(self.transformer(h)))
        return z, slope.sum((1, 2))

    def inverse(self, z: Tensor, context: Tensor | None) -> Tensor:
        """x (B, T, P), patch after patch; the transformer keeps its keys and values."""
        h, state, x = self.begin(len(z), context), None, []
        for patch in z.split(1, 1):
            out, state = self.transformer.extend(h, state)
            x.append(self.affine.inverse(patch, self.theta(out)))
            h = self.first(x[-1])
        return torch.cat(x, 1)


class TarFlow(Flow):
    """Blocks of causal transformers over the patches of a picture, or of every frame of a clip; back to front in every other one."""

    kinds = frozenset({"image", "video"})

    class Config(FlowConfig):
        patch: int = Field(4, ge=1, le=64)
        """Pixels a side of a patch; divides both sides of a picture or frame."""
        blocks: int = Field(4, ge=1, le=64)
        """Autoregressions."""
        layers: int = Field(2, ge=1, le=64)
        """Layers of a block's transformer."""
        width: Width = 128
        """Its width."""
        heads: int = Field(4, ge=1, le=256)
        """Its heads; divide the width."""
        bound: float = Field(3.0, gt=0, le=20)
        """Largest |log-scale| of one block, approached softly."""
        noise: float = Field(0.0, ge=0, le=1)
        """Deviation of Gaussian noise on the pixels of training, for better samples at a worse likelihood; 0: uniform in each level."""

    class Draw(Flow.Draw):
        denoise: bool = True
        """Take one step from a draw of noisy pixels to what they come from; only with model.noise."""

    def __init__(self, config: Config, spec: Spec) -> None:
        super().__init__(config, spec)
        (*frames, c, h, w), p = spec.shape, config.patch
        if h % p or w % p:
            raise GenctlError("config", f"model.patch: {p} does not divide {h}x{w}", "model.patch=2")
        if config.width % config.heads:
            raise GenctlError("config", f"model.heads: {config.heads} does not divide the width {config.width}")
        self.grid = frames[0] if frames else 1, h // p, w // p
        count, size = math.prod(self.grid), c * p * p
        self.blocks = nn.ModuleList(
            Block(count, size, config.width, config.layers, config.heads, self.classes, Affine(config.bound)) for _ in range(config.blocks)
        )

    def units(self) -> list[nn.Module]:
        return list(self.blocks)

    # --- pictures as rows of patches ---

    def patches(self, y: Tensor) -> Tensor:
        """(B, D) -> (B, T, P)."""
        (frames, rows, columns), p = self.grid, self.config.patch
        return y.view(len(y), frames, -1, rows, p, columns, p).permute(0, 1, 3, 5, 2, 4, 6).flatten(4).flatten(1, 3)

    def pixels(self, x: Tensor) -> Tensor:
        """Its inverse."""
        p = self.config.patch
        return x.view(len(x), *self.grid, -1, p, p).permute(0, 1, 4, 2, 5, 3, 6).flatten(1)

    def to_noise(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        x, log_det = self.patches(y), y.new_zeros(len(y))
        for block in self.blocks:
            x, added = block(x, context)
            x, log_det = x.flip(1), log_det + added
        return self.pixels(x), log_det

    def from_noise(self, z: Tensor, context: Tensor | None) -> Tensor:
        x = self.patches(z)
        for block in reversed(self.blocks):
            x = block.inverse(x.flip(1), context)  # type: ignore[operator]
        return self.pixels(x)

    # --- Gaussian noise on the pixels, and off them ---

    def line(self, x: Tensor) -> tuple[Tensor, Tensor | float]:
        """Noisy pixels are on the line already."""
        return (x, 0.0) if self.config.noise else super().line(x)

    def off_line(self, y: Tensor) -> Tensor:
        return self.grey(y) if self.config.noise else super().off_line(y)

    def fed(self, batch: Batch) -> Tensor:
        """Noisy pixels, or the levels' own noise."""
        if not self.config.noise:
            return super().fed(batch)
        x = self.middle(batch)
        return x + self.config.noise * noise.randn(*x.shape, device=x.device)

    def sample(self, n: int, draw: Draw, given: Given | None = None) -> Tensor:
        if not (self.config.noise and draw.denoise):
            return super().sample(n, draw, given)
        context = self.context(given)
        x = self.inverse_flow(self.prior(n, given), context)
        clean = x + self.config.noise**2 * self.slope(x, context)[1]  # Tweedie's formula: the mean of what x was made from
        return self.off_line(clean).reshape(-1, *self.spec.shape)
