"""What every normalising flow has in common: data to the line and back, standardised; exact densities; sampling in one pass.

x = f(z), z ~ N(0, I): log p(x) = log N(z; 0, I) + log |det dz/dx|. A flow states `to_noise` and `from_noise`; the rest is here.
Pictures are dequantised and mapped to the line by a logit (Dinh et al. 2017, https://arxiv.org/abs/1605.08803, section 4.1): their
density is one of numbers in [0, 1], level and noise.
"""

import math
from abc import abstractmethod

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from genctl import contract
from genctl.config import Settings
from genctl.contract import Batch, Family, Given, Loss, Player, Progress, Spec, Stage
from genctl.errors import GenctlError
from genctl.maths import noise, ranks

LOG2PI = math.log(2 * math.pi)


class FlowConfig(Settings):
    """The keys that every flow takes."""

    margin: float = Field(0.05, gt=0, lt=0.5)
    """Pixels are squeezed into [margin, 1 - margin] before the logit."""
    conditional: bool = False
    """The density given the class label."""


class Flow(Family):
    """A density through an invertible map between x and noise."""

    kinds = frozenset({"vector", "signal", "image"})
    log_prob_is = "exact"

    def __init__(self, config: FlowConfig, spec: Spec, least: int = 1) -> None:
        super().__init__(config, spec)
        if spec.size < least:
            raise GenctlError("config", f"this flow needs at least {least} numbers: a part of x moves given the rest")
        self.classes = self.labelled(config.conditional)  # numbers of context: the label, one-hot
        self.register_buffer("shift", torch.zeros(spec.size))  # mean and scale of the data, from the first batch
        self.register_buffer("scale", torch.ones(spec.size))
        self.register_buffer("ready", torch.zeros((), dtype=torch.bool))
        self.code = Spec(shape=(spec.size,))
        if spec.levels:
            self.log_prob_is = "bound"

    # --- what a flow is ---

    @abstractmethod
    def to_noise(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """z (B, D) and log |det dz/dy| (B,) of standardised y (B, D), given context (B, C)."""

    @abstractmethod
    def from_noise(self, z: Tensor, context: Tensor | None) -> Tensor:
        """Its inverse: y (B, D)."""

    # --- between pictures and the line ---

    def dequantise(self, x: Tensor, u: Tensor | float) -> Tensor:
        """Grey values as numbers in [0, 1]: u in [0, 1) places each within its level."""
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

    def numbers(self, batch: Batch) -> Tensor:
        """x (B, D) as the flow is trained on it: pictures with uniform noise within their levels."""
        x = batch.x.flatten(1)
        return self.dequantise(x, noise.rand(*x.shape, device=x.device)) if self.spec.levels else x

    # --- the density ---

    def context(self, given: Given | None) -> Tensor | None:
        """The label one-hot (B, C), or None."""
        return F.one_hot(given["label"], self.classes).float() if given and self.classes else None

    def forward_flow(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """z (B, D) and log |det dz/dy| (B,) of y as it is."""
        z, log_det = self.to_noise((y - self.shift) / self.scale, context)
        return z, log_det - self.scale.log().sum()

    def inverse_flow(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """y (B, D) of z."""
        return self.from_noise(z, context) * self.scale + self.shift

    def log_density(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """log p(x) (B,) of numbers x (B, D)."""
        y, added = self.line(x)
        z, log_det = self.forward_flow(y, context)
        return -0.5 * (z.square().sum(1) + LOG2PI * self.spec.size) + log_det + added

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
        return Loss(-self.log_density(self.numbers(batch), self.context(batch.given)).mean())

    def sample(self, n: int, draw: contract.Draw, given: Given | None = None) -> Tensor:
        return self.decode(self.prior(n, given), given)

    # --- powers ---

    def prior(self, n: int, given: Given | None = None) -> Tensor:
        """z ~ N(0, I) (n, D)."""
        return noise.randn(n, self.spec.size, device=self.device)

    def log_prob(self, batch: Batch) -> Tensor:
        """log p(x) (B,): the exact density of numbers; of pictures log P(x) >= E log p(x + u) - D log levels.

        Theis et al. 2016, https://arxiv.org/abs/1511.01844, section 3.1: u is uniform within the level, here one draw of it.
        """
        found = self.log_density(self.numbers(batch), self.context(batch.given))
        return found - self.spec.size * math.log(self.spec.levels) if self.spec.levels else found

    def encode(self, batch: Batch) -> Tensor:
        """z (B, D), of pictures at the middle of their levels."""
        x = batch.x.flatten(1)
        return self.forward_flow(self.line(self.dequantise(x, 0.5) if self.spec.levels else x)[0], self.context(batch.given))[0]

    def decode(self, code: Tensor, given: Given | None = None) -> Tensor:
        """x (B, *shape) of z."""
        return self.off_line(self.inverse_flow(code, self.context(given))).reshape(-1, *self.spec.shape)
