"""Denoising diffusion: learns to take away a little noise, and draws by taking away all of it.

Ho, Jain and Abbeel 2020, https://arxiv.org/abs/2006.11239; DDIM: Song, Meng and Ermon 2021, https://arxiv.org/abs/2010.02502;
the cosine schedule: Nichol and Dhariwal 2021, https://arxiv.org/abs/2102.09672; v: Salimans and Ho 2022,
https://arxiv.org/abs/2202.00512; guidance: Ho and Salimans 2022, https://arxiv.org/abs/2207.12598.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from genctl import contract
from genctl.config import Settings
from genctl.contract import Batch, Family, Given, Loss, Progress, Spec
from genctl.maths import noise
from genctl.maths.schedules import SCHEDULES
from genctl.maths.solvers import SAMPLERS, spaced
from genctl.nets.mlp import Width, mlp
from genctl.nets.unet import TimedMLP, UNet, sinusoids


class Draw(contract.Draw):
    """Which way back from noise."""

    sampler: Literal["ddpm", "ddim", "dpm"] = "ddim"
    """ddpm: ancestral; ddim: deterministic unless eta; dpm: DPM-Solver++ 2M, good in 20 steps."""
    steps: int = Field(50, ge=1, le=10_000)
    """Calls of the network, evenly spaced over the model's steps; as many as it has, or more, visit each once."""
    eta: float = Field(0.0, ge=0, le=1)
    """ddim: 0 adds no noise, 1 as much as ddpm."""
    guidance: float = Field(0.0, ge=0, le=100)
    """How far to go beyond the conditional prediction, away from the unconditional one (eq. 6); conditional models only."""


class DDPM(Family):
    """q(x_t | x_0) = N(sqrt(abar_t) x_0, 1 - abar_t); the network guesses what was added."""

    kinds = frozenset({"vector", "image"})
    Draw = Draw

    class Config(Settings):
        steps: int = Field(1000, ge=1, le=10_000)
        """T: steps from data to noise."""
        schedule: Literal["linear", "cosine"] = "cosine"
        """How abar falls."""
        predict: Literal["eps", "v"] = "v"
        """What the network guesses: the noise, or v = sqrt(abar) eps - sqrt(1 - abar) x_0."""
        channels: list[Width] = Field(default_factory=lambda: [32, 64], min_length=1, max_length=6)
        """Images: channels of each level of the U-Net, half the size each."""
        blocks: int = Field(1, ge=1, le=8)
        """Images: residual blocks a level, each way."""
        patch: int = Field(1, ge=1, le=16)
        """Images: squares of so many pixels a side are folded into channels before the U-Net."""
        attention: bool = True
        """Images: self-attention at the lowest level."""
        width: int = Field(128, ge=4, le=8192)
        """Rows of numbers: units of a layer; both: of the time's embedding."""
        depth: int = Field(3, ge=1, le=32)
        """Rows of numbers: residual layers."""
        waves: int = Field(4, ge=0, le=16)
        """Rows of numbers: octaves of sines and cosines beside x."""
        dropout: float = Field(0.0, ge=0, lt=1)
        """Images: inside the residual blocks."""
        conditional: bool = False
        """Draw given the class label."""
        unlabel: float = Field(0.1, ge=0, lt=1)
        """The share of training examples whose label is hidden, for guidance."""

    def __init__(self, config: Config, spec: Spec) -> None:
        super().__init__(config, spec)
        self.time = mlp([config.width, config.width, config.width], "silu", last=True)
        if spec.kind == "image":
            self.net: nn.Module = UNet(
                spec.shape, config.channels, config.width, config.blocks, config.patch, config.attention, config.dropout
            )
        else:
            self.net = TimedMLP(spec.size, config.width, config.depth, config.width, config.waves)
        self.unknown = 0  # the label that says nothing
        if config.conditional:
            self.unknown = self.labelled(True)
            self.label = nn.Embedding(self.unknown + 1, config.width)
        self.abar: Tensor
        self.schedule = SCHEDULES[config.schedule](config.steps)
        self.register_buffer("abar", torch.tensor(self.schedule), persistent=False)

    # --- forwards and back one step ---

    def noised(self, x: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """x_t (eq. 4)."""
        a = self.at(t, x.ndim)
        return a.sqrt() * x + (1 - a).sqrt() * eps

    def at(self, t: Tensor, rank: int) -> Tensor:
        """abar_t (B, 1, ...)."""
        return self.abar[t].view(-1, *[1] * (rank - 1))

    def guess(self, x: Tensor, t: Tensor, label: Tensor | None) -> Tensor:
        """The network's output (B, *shape): eps or v."""
        emb = self.time(sinusoids(t * (1000 / self.config.steps), self.config.width))
        if label is not None:
            emb = emb + self.label(label)
        out: Tensor = self.net(x, F.silu(emb))
        return out

    def loss(self, batch: Batch, at: Progress) -> Loss:
        """The mean squared error of the guess, every step alike (eq. 14)."""
        x = self._in(batch.x)
        n = len(x)
        t, eps = noise.randint(self.config.steps, n, device=x.device), noise.randn(*x.shape, device=x.device)
        a = self.at(t, x.ndim)
        x_t = self.noised(x, t, eps)
        label = None
        if self.unknown:
            hidden = noise.rand(n, device=x.device) < self.config.unlabel
            label = torch.where(hidden & self.training, self.unknown, batch.given["label"])
        target = eps if self.config.predict == "eps" else a.sqrt() * eps - (1 - a).sqrt() * x
        return Loss(F.mse_loss(self.guess(x_t, t, label), target))

    # --- all the way back ---

    def predict_both(self, x: Tensor, t: int, label: Tensor | None, guidance: float) -> tuple[Tensor, Tensor]:
        """(x_0, eps) as guessed at x_t; images stay in their range."""
        n, a = len(x), self.schedule[t]
        steps = torch.full((n,), t, device=x.device)
        if label is not None and guidance:
            both = self.guess(x.repeat(2, *[1] * (x.ndim - 1)), steps.repeat(2), torch.cat([label, torch.full_like(label, self.unknown)]))
            told, untold = both.chunk(2)
            out = told + guidance * (told - untold)
        else:
            out = self.guess(x, steps, label)
        if self.config.predict == "v":
            x0 = a**0.5 * x - (1 - a) ** 0.5 * out
        else:
            x0 = (x - (1 - a) ** 0.5 * out) / a**0.5
        if self.spec.levels:
            x0 = x0.clamp(-1, 1)
        return x0, (x - a**0.5 * x0) / (1 - a) ** 0.5

    def sample(self, n: int, draw: Draw, given: Given | None = None) -> Tensor:
        """From noise to x; binary data is thresholded at one half."""
        label = given["label"] if given and self.unknown else None
        x = noise.randn(n, *self.spec.shape, device=self.device)
        walk = spaced(self.config.steps, draw.steps)
        how = {"eta": draw.eta} if draw.sampler == "ddim" else {}
        x = SAMPLERS[draw.sampler](lambda x, t: self.predict_both(x, t, label, draw.guidance), x, self.schedule, walk, **how)
        return self._out(x)

    def _in(self, x: Tensor) -> Tensor:
        return 2 * x - 1 if self.spec.levels else x

    def _out(self, x: Tensor) -> Tensor:
        if not self.spec.levels:
            return x
        x = ((x + 1) / 2).clamp(0, 1)
        return x.round() if self.spec.levels == 2 else x
