"""RealNVP: an invertible network of affine couplings, so that the likelihood is exact and sampling is one pass.

Dinh, Sohl-Dickstein and Bengio 2017, Density estimation using Real NVP, https://arxiv.org/abs/1605.08803.
Pictures are dequantised and mapped to the line by a logit (section 4.1): their density is one of numbers in [0, 1], level and noise.
"""

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from genctl import contract
from genctl.config import Settings
from genctl.contract import Batch, Family, Given, Loss, Player, Progress, Spec, Stage
from genctl.errors import GenctlError
from genctl.maths import noise, ranks
from genctl.nets.mlp import mlp

LOG2PI = math.log(2 * math.pi)


class RealNVP(Family):
    """x = f(z), z ~ N(0, I): log p(x) = log N(z; 0, I) + log |det dz/dx|   (eq. 2)"""

    kinds = frozenset({"vector", "signal", "image"})
    log_prob_is = "exact"

    class Config(Settings):
        couplings: int = Field(8, ge=1, le=256)
        """Affine couplings; each moves one half of x given the other, in turn."""
        hidden: list[int] = Field(default_factory=lambda: [128, 128], min_length=1, max_length=16)
        """Widths of the hidden layers of a coupling's network."""
        activation: Literal["relu", "silu", "tanh", "gelu"] = "relu"
        """Between its layers."""
        bound: float = Field(3.0, gt=0, le=20)
        """Largest |log-scale| of one coupling, approached softly."""
        margin: float = Field(0.05, gt=0, lt=0.5)
        """Pixels are squeezed into [margin, 1 - margin] before the logit (alpha of section 4.1)."""

    def __init__(self, config: Config, spec: Spec) -> None:
        super().__init__(config, spec)
        if spec.size < 2:
            raise GenctlError("config", "family 'realnvp' needs at least two numbers: one half of x moves given the other")
        if any(not 1 <= w <= 65_536 for w in config.hidden):
            raise GenctlError("config", "model.hidden: every width must be between 1 and 65536")
        low = spec.size // 2
        halves = (low, spec.size - low)
        self.couplings = nn.ModuleList(Coupling(halves[i % 2], halves[1 - i % 2], config) for i in range(config.couplings))
        self.register_buffer("shift", torch.zeros(spec.size))  # mean and scale of the data, from the first batch
        self.register_buffer("scale", torch.ones(spec.size))
        self.register_buffer("ready", torch.zeros((), dtype=torch.bool))
        self.code = Spec(shape=(spec.size,))
        if spec.levels == 2:
            self.log_prob_is = "bound"

    def units(self) -> list[nn.Module]:
        return list(self.couplings)

    # --- between pictures and the line ---

    def dequantise(self, x: Tensor, u: Tensor | float) -> Tensor:
        """Grey values as numbers in [0, 1]: u in [0, 1) places each within its level (section 4.1)."""
        return (x * (self.spec.levels - 1) + u) / self.spec.levels

    def line(self, x: Tensor) -> tuple[Tensor, Tensor | float]:
        """y (B, D) on the line, and log |det dy/dx| (B,): a logit of x in [0, 1], or x itself."""
        if not self.spec.levels:
            return x, 0.0
        p = self.config.margin + (1 - 2 * self.config.margin) * x
        up, down = torch.log(p), torch.log1p(-p)
        return up - down, (math.log(1 - 2 * self.config.margin) - up - down).sum(1)

    def off_line(self, y: Tensor) -> Tensor:
        """x (B, D) of y; pictures fall back on their grey levels."""
        if not self.spec.levels:
            return y
        x = (torch.sigmoid(y) - self.config.margin) / (1 - 2 * self.config.margin)
        return (x * self.spec.levels).floor().clamp(0, self.spec.levels - 1) / (self.spec.levels - 1)

    # --- the flow ---

    def forward_flow(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """z (B, D) and log |det dz/dy| (B,)."""
        kept, moved = ((y - self.shift) / self.scale).tensor_split([self.spec.size // 2], 1)
        log_det = -self.scale.log().sum()
        for coupling in self.couplings:
            s, t = coupling.terms(kept)
            kept, moved, log_det = moved * s.exp() + t, kept, log_det + s.sum(1)
        return torch.cat([kept, moved] if len(self.couplings) % 2 == 0 else [moved, kept], 1), log_det

    def inverse_flow(self, z: Tensor) -> Tensor:
        """y (B, D) of z."""
        kept, moved = z.tensor_split([self.spec.size // 2], 1)
        if len(self.couplings) % 2:
            kept, moved = moved, kept
        for coupling in reversed(self.couplings):
            s, t = coupling.terms(moved)
            kept, moved = moved, (kept - t) * (-s).exp()
        return torch.cat([kept, moved], 1) * self.scale + self.shift

    def log_density(self, x: Tensor) -> Tensor:
        """log p(x) (B,) of numbers x (B, D)."""
        y, added = self.line(x)
        z, log_det = self.forward_flow(y)
        return -0.5 * (z.square().sum(1) + LOG2PI * self.spec.size) + log_det + added

    def numbers(self, batch: Batch) -> Tensor:
        """x (B, D) as the flow is trained on it: pictures with uniform noise within their levels."""
        x = batch.x.flatten(1)
        return self.dequantise(x, noise.rand(*x.shape, device=x.device)) if self.spec.levels else x

    # --- the contract ---

    def stages(self) -> list[Stage]:
        player = Player(name="model", params=list(self.parameters()), loss=self.loss)
        return [Stage(name="train", players=[player], feed=self.standardise)]

    def standardise(self, batch: Batch, at: Progress) -> Batch:
        """At the first step: mean and scale of the first batch, unless weights brought them along."""
        if at.step == 0 and not self.ready:
            y = self.line(self.numbers(batch))[0]
            n, total, squares = ranks.total(torch.stack([torch.ones_like(y).sum(0), y.sum(0), y.square().sum(0)]))
            self.shift.copy_(total / n)
            self.scale.copy_((squares / n - self.shift.square()).clamp(min=1e-6).sqrt())
            self.ready.fill_(True)
        return batch

    def loss(self, batch: Batch, at: Progress) -> Loss:
        """-log p(x), nats; of dequantised pictures in [0, 1]."""
        return Loss(-self.log_density(self.numbers(batch)).mean())

    def sample(self, n: int, draw: contract.Draw, given: Given | None = None) -> Tensor:
        return self.decode(noise.randn(n, self.spec.size, device=self.device))

    # --- powers ---

    def log_prob(self, batch: Batch) -> Tensor:
        """log p(x) (B,): the exact density; of binary pictures log P(x) >= E log p(x + u) - D log 2 (Theis et al. 2016, section 3.1)."""
        if self.spec.levels == 2:
            return self.log_density(self.numbers(batch)) - self.spec.size * math.log(2)
        return self.log_density(batch.x.flatten(1))

    def encode(self, batch: Batch) -> Tensor:
        """z (B, D), of pictures at the middle of their levels."""
        x = batch.x.flatten(1)
        return self.forward_flow(self.line(self.dequantise(x, 0.5) if self.spec.levels else x)[0])[0]

    def decode(self, code: Tensor, given: Given | None = None) -> Tensor:
        """x (B, *shape) of z."""
        return self.off_line(self.inverse_flow(code)).reshape(-1, *self.spec.shape)


class Coupling(nn.Module):
    """moved <- moved * exp(s(kept)) + t(kept), which leaves `kept` as it is   (eq. 7, 8).

    Starts near the identity, not at it: where the halves of the data are independent, as on a grid, the identity is a saddle point
    that training does not leave.
    """

    def __init__(self, kept: int, moved: int, config: RealNVP.Config) -> None:
        super().__init__()
        self.bound = config.bound
        self.net = mlp([kept, *config.hidden, 2 * moved], config.activation)
        nn.init.normal_(self.net[-1].weight, std=0.01)
        nn.init.zeros_(self.net[-1].bias)

    def terms(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        """s and t, each (B, moved)."""
        s, t = self.net(kept).chunk(2, 1)
        return self.bound * torch.tanh(s / self.bound), t
