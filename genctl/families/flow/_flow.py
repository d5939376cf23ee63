"""What every normalising flow has in common: data to the line and back, standardised; exact densities; sampling in one pass.

x = f(z), z ~ N(0, I): log p(x) = log N(z; 0, I) + log |det dz/dx|. A flow states `to_noise` and `from_noise`; the rest is here.
Pictures are dequantised and mapped to the line by a logit (Dinh et al. 2017, https://arxiv.org/abs/1605.08803, section 4.1): their
density is one of numbers in [0, 1], level and noise. Where most pixels are of one grey, a logit leaves them far from normal, which
no affine layer mends; their own distribution function makes them normal one by one (Chen and Gopinath 2000,
https://proceedings.neurips.cc/paper/2000/hash/3c947bc2f7ff007b86a9428b74654de5-Abstract.html). A one-hot of a table is dequantised as it is, by uniform noise on its entries; the
largest says the category (Hoogeboom et al. 2021, https://arxiv.org/abs/2102.05379, with a fixed noise), so its density is a bound.
"""

import math
from abc import abstractmethod
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from genctl import contract
from genctl.config import Settings
from genctl.contract import Batch, Family, Given, Loss, Player, Progress, Spec, Stage
from genctl.errors import GenctlError
from genctl.maths import blocks, langevin, noise, ranks

LOG2PI = math.log(2 * math.pi)


class FlowConfig(Settings):
    """The keys that every flow takes."""

    squash: Literal["logit", "equal"] = "logit"
    """How pixels get to the line: by a logit, or equalised by the greys of the first batch and then by the normal quantile."""
    margin: float = Field(0.05, gt=0, lt=0.5)
    """What is in [0, 1] is squeezed into [margin, 1 - margin] before the logit or the quantile."""
    conditional: bool = False
    """The density given the class label."""


class Flow(Family):
    """A density through an invertible map between x and noise."""

    kinds = frozenset({"vector", "signal", "image"})
    log_prob_is = "exact"

    class Draw(contract.Draw):
        sweeps: int = Field(100, ge=2, le=1_000_000)
        """For imputing: moves of what is missing, a call of the flow and its gradient each; the first half fits their length."""

    def __init__(self, config: FlowConfig, spec: Spec, least: int = 1) -> None:
        super().__init__(config, spec)
        if spec.size < least:
            raise GenctlError("config", f"this flow needs at least {least} numbers: a part of x moves given the rest")
        self.classes = self.labelled(config.conditional)  # numbers of context: the label, one-hot
        self.register_buffer("shift", torch.zeros(spec.size))  # mean and scale of the data, from the first batch
        self.register_buffer("scale", torch.ones(spec.size))
        self.register_buffer("ready", torch.zeros((), dtype=torch.bool))
        if config.squash == "equal" and spec.levels:  # the distribution function of pixels at the bounds between levels
            self.register_buffer("cdf", torch.linspace(0, 1, spec.levels + 1))
        self.code = Spec(shape=(spec.size,))
        self.discrete = spec.levels > 0 or max(spec.blocks, default=1) > 1
        if self.discrete:
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
        """Grey values as numbers in [0, 1], and one-hots as numbers in [0, 2]: u in [0, 1) places each within its level."""
        if not self.spec.levels:
            return blocks.soften(x, self.spec.blocks, u)
        return (x * (self.spec.levels - 1) + u) / self.spec.levels

    def line(self, x: Tensor) -> tuple[Tensor, Tensor | float]:
        """y (B, D) on the line, and log |det dy/dx| (B,): a logit of x in [0, 1], or x itself."""
        if not self.spec.levels:
            return x, 0.0
        added: Tensor | float = 0.0
        if self.config.squash == "equal":
            x, added = self.equal(x)
        p = self.config.margin + (1 - 2 * self.config.margin) * x
        added = added + self.spec.size * math.log(1 - 2 * self.config.margin)
        if self.config.squash == "equal":
            y = torch.special.ndtri(p)
            return y, added + 0.5 * (y.square() + LOG2PI).sum(1)
        up, down = torch.log(p), torch.log1p(-p)
        return up - down, added - (up + down).sum(1)

    def off_line(self, y: Tensor) -> Tensor:
        """x (B, D) of y; pictures fall back on their grey levels, one-hots on their largest entry."""
        if not self.spec.levels:
            return blocks.snap(y, self.spec.blocks)
        equal = self.config.squash == "equal"
        u = ((torch.special.ndtr(y) if equal else torch.sigmoid(y)) - self.config.margin) / (1 - 2 * self.config.margin)
        return self.grey(self.unequal(u) if equal else u)

    def equal(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Numbers in [0, 1] through their distribution function, and its log-determinant (B,)."""
        k = (x * self.spec.levels).long().clamp(0, self.spec.levels - 1)
        share = self.cdf[k + 1] - self.cdf[k]
        return self.cdf[k] + share * (x * self.spec.levels - k), (share * self.spec.levels).log().sum(1)

    def unequal(self, u: Tensor) -> Tensor:
        """Its inverse."""
        k = (torch.searchsorted(self.cdf, u.contiguous(), right=True) - 1).clamp(0, self.spec.levels - 1)
        return (k + ((u - self.cdf[k]) / (self.cdf[k + 1] - self.cdf[k])).clamp(0, 1 - 1e-6)) / self.spec.levels

    def grey(self, x: Tensor) -> Tensor:
        """The grey levels that numbers in [0, 1] stand for."""
        return (x * self.spec.levels).floor().clamp(0, self.spec.levels - 1) / (self.spec.levels - 1)

    def numbers(self, batch: Batch) -> Tensor:
        """x (B, D), pictures and one-hots with uniform noise within their levels."""
        x = batch.x.flatten(1)
        return self.dequantise(x, noise.rand(*x.shape, device=x.device)) if self.discrete else x

    def fed(self, batch: Batch) -> Tensor:
        """x (B, D) as the flow is trained on it."""
        return self.numbers(batch)

    def middle(self, batch: Batch) -> Tensor:
        """x (B, D), what has levels in the middle of them."""
        x = batch.x.flatten(1)
        return self.dequantise(x, 0.5) if self.discrete else x

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

    def slope(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """log p(y) + constant (B,) of y (B, D) on the line, and its gradient (B, D)."""
        with torch.enable_grad():
            y = y.detach().requires_grad_(True)
            z, log_det = self.forward_flow(y, context)
            log_p = log_det - 0.5 * z.square().sum(1)
            (gradient,) = torch.autograd.grad(log_p.sum(), y)
        return log_p.detach(), gradient

    # --- the contract ---

    def stages(self) -> list[Stage]:
        player = Player(name="model", params=list(self.parameters()), loss=self.loss)
        return [Stage(name="train", players=[player], feed=self.standardise)]

    def standardise(self, batch: Batch, at: Progress) -> Batch:
        """At the first step: mean and scale of the first batch, unless weights brought them along."""
        if at.step == 0 and not self.ready:
            if self.spec.levels and self.config.squash == "equal":
                greys = (batch.x * (self.spec.levels - 1)).round().long().flatten()
                count = ranks.total(torch.bincount(greys, minlength=self.spec.levels).float()) + 1  # none is impossible
                self.cdf[1:] = (count.double().cumsum(0) / count.sum().double()).float()
            y = self.line(self.fed(batch))[0]
            n, total = ranks.total(torch.stack([torch.ones_like(y).sum(0), y.sum(0)]))
            self.shift.copy_(total / n)
            squares = ranks.total((y - self.shift).square().sum(0))  # in two passes, or digits are lost
            self.scale.copy_((squares / n).clamp(min=1e-6).sqrt())
            self.settle((y - self.shift) / self.scale, self.context(batch.given))
            self.ready.fill_(True)
        return batch

    def settle(self, y: Tensor, context: Tensor | None) -> None:
        """Parameters that begin where the first, standardised batch puts them; every rank calls it with its own rows."""

    def loss(self, batch: Batch, at: Progress) -> Loss:
        """-log p(x), nats; of dequantised pictures in [0, 1]."""
        return Loss(-self.log_density(self.fed(batch), self.context(batch.given)).mean())

    def sample(self, n: int, draw: Draw, given: Given | None = None) -> Tensor:
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
        return self.forward_flow(self.line(self.middle(batch))[0], self.context(batch.given))[0]

    def decode(self, code: Tensor, given: Given | None = None) -> Tensor:
        """x (B, *shape) of z."""
        return self.off_line(self.inverse_flow(code, self.context(given))).reshape(-1, *self.spec.shape)

    def impute(self, batch: Batch, draw: Draw) -> Tensor:
        """What is missing by a Metropolis-adjusted walk from a draw of the model, given what was observed.

        It moves on the line, in units of the data's scale; what was observed of a picture lies anywhere within its levels.
        """
        context = self.context(batch.given)
        gone = ~batch.mask.flatten(1)
        y = torch.where(gone, self.inverse_flow(self.prior(len(batch)), context), self.line(self.fed(batch))[0])

        def slope(s: Tensor) -> tuple[Tensor, Tensor]:
            log_p, gradient = self.slope(s * self.scale + self.shift, context)
            return log_p, gradient * self.scale

        y = langevin.mala(slope, (y - self.shift) / self.scale, gone, draw.sweeps) * self.scale + self.shift
        return torch.where(batch.mask, batch.x, self.off_line(y).view_as(batch.x))
