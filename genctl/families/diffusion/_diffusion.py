"""What every diffusion model has in common: noise to data by any solver, whatever the network was trained to guess.

In the coordinate z = x_0 + s eps (see `maths/solvers`) a family is what its network guesses and how that is a guess of x_0 (`scaling`),
which s it visits when it draws (`ladder`), and how it learns (`loss`; in `_likely` by squares at the s of `noise_at`).
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from genctl import contract
from genctl.contract import Batch, Family, Given, Player, Progress, Spec, Stage
from genctl.errors import GenctlError
from genctl.families.diffusion._network import Network, NetworkConfig
from genctl.maths import blocks, noise, ranks, solvers
from genctl.maths.solvers import Denoise, How
from genctl.media import text as letters
from genctl.nets.told import Told

SolverName = Literal["euler", "ddim", "ancestral", "heun", "dpmpp_2m", "unipc", "langevin", "pc", "renoise"]


class Draw(contract.Draw):
    """Which way back from noise."""

    solver: SolverName = "dpmpp_2m"
    """ancestral: DDPM's own; euler, ddim (eta), heun (churn), dpmpp_2m, unipc: orders 1, 1, 2, 2, 3 along the flow; langevin, pc: moves
    along the score; renoise: for consistency models."""
    steps: int = Field(20, ge=1, le=10_000)
    """Calls of the network."""
    spacing: Literal["own", "karras", "log"] = "own"
    """Which levels of noise are visited: as the family was trained, or by Karras et al. 2022, eq. 5, or even in the logarithm."""
    eta: float = Field(0.0, ge=0, le=1)
    """ddim: 0 adds no noise, 1 as much as ancestral."""
    churn: float = Field(0.0, ge=0, le=1000)
    """heun: noise added anew before each step, S_churn of Karras et al. 2022."""
    corrections: int = Field(1, ge=1, le=1000)
    """langevin, pc: moves at each level."""
    snr: float = Field(0.16, gt=0, le=10)
    """langevin, pc: how long they are."""
    guidance: float = Field(0.0, ge=0, le=100)
    """How far to go beyond the conditional guess, away from the unconditional one (Ho and Salimans 2022, eq. 6); conditional models only."""
    guidance_low: float = Field(0.0, ge=0)
    """Guide only at noise of at least this much (Kynkaanniemi et al. 2024, https://arxiv.org/abs/2404.07724)."""
    guidance_high: float = Field(1e9, gt=0)
    """Guide only at noise of at most this much."""
    rescale: float = Field(0.0, ge=0, le=1)
    """How much of the contrast that guidance adds is taken back (Lin et al. 2024, https://arxiv.org/abs/2305.08891, section 3.4)."""
    negative: str = Field("", max_length=10_000)
    """Guide away from this text, not from no text."""
    resample: int = Field(1, ge=1, le=1000)
    """impute: how often each step is taken, RePaint's U; 1 replaces what is known and no more."""


@dataclass(frozen=True)
class Scaling:
    """x_0 is guessed as skip z + out F(into z); each (B, 1, ...) (Karras et al. 2022, eq. 7)."""

    into: Tensor
    skip: Tensor
    out: Tensor


class Diffusion(Family):
    """Draws by taking noise away. `spread`: the deviation of the data in the coordinate of z."""

    kinds = frozenset({"vector", "signal", "image", "video"})
    Draw = Draw

    def __init__(self, config: NetworkConfig, spec: Spec) -> None:
        super().__init__(config, spec)
        self.net = Network(config, self)
        self.spread = 0.5 if spec.levels else 1.0
        self.axis = -min(len(spec.shape), 3)  # of what has a mean and a deviation of its own: a number, or a channel
        shape = (spec.shape[self.axis], *[1] * (-self.axis - 1))
        middle, half = (0.5, 0.5) if spec.levels else (0.0, 1.0)
        self.register_buffer("shift", torch.full(shape, middle))
        self.register_buffer("scale", torch.full(shape, half))
        self.register_buffer("ready", torch.tensor(spec.levels > 0))
        self.soft = max(spec.blocks, default=1) > 1

    # --- what a family is ---

    @abstractmethod
    def scaling(self, s: Tensor) -> Scaling:
        """s (B, 1, ...)."""

    @abstractmethod
    def ladder(self, steps: int) -> list[float]:
        """`steps` levels of noise, falling, the first as good as pure noise; at most as many as there are."""

    def clock(self, s: Tensor) -> Tensor:
        """What the network is told of s (B,), on a scale of hundreds."""
        return 100 * s.log()

    # --- between x and the coordinate of z ---

    def to_line(self, x: Tensor) -> Tensor:
        """Pixels to [-1, 1], other numbers to mean 0 and deviation 1; one-hots with uniform noise on their entries."""
        if self.soft:
            x = blocks.soften(x, self.spec.blocks, noise.rand(*x.shape, device=x.device))
        return (x - self.shift) / self.scale

    def off_line(self, y: Tensor) -> Tensor:
        """Its inverse, in the data's range; binary data is thresholded at one half."""
        x = y * self.scale + self.shift
        if not self.spec.levels:
            return blocks.snap(x, self.spec.blocks)
        x = x.clamp(0, 1)
        return x.round() if self.spec.levels == 2 else x

    def standardise(self, batch: Batch, at: Progress) -> Batch:
        """At the first step: mean and deviation of the first batch, unless weights brought them along."""
        if at.step == 0 and not self.ready:
            y = self.to_line(batch.x).movedim(self.axis, -1).flatten(0, -2)  # (n, numbers or channels)
            n, total = ranks.total(torch.stack([torch.ones_like(y).sum(0), y.sum(0)]))
            squares = ranks.total((y - total / n).square().sum(0))  # in two passes, or digits are lost
            self.shift.copy_((total / n).view_as(self.shift))
            self.scale.copy_((squares / n).clamp(min=1e-6).sqrt().view_as(self.scale))
            self.ready.fill_(True)
        return batch

    # --- training ---

    def stages(self) -> list[Stage]:
        player = Player(name="model", params=list(self.parameters()), loss=self.loss)
        return [Stage(name="train", players=[player], feed=self.standardise)]

    def hidden(self, n: int) -> Tensor | None:
        """Which examples are not told their class or text (n,), so that guidance has a model of what is likely without."""
        if not self.conditions:
            return None
        return (noise.rand(n, device=self.device) < self.config.unlabel) & self.training

    def guess(self, z: Tensor, s: Tensor, told: Told) -> Tensor:
        """x_0 at z and s (B,)."""
        column = s.view(-1, *[1] * (z.ndim - 1))
        by = self.scaling(column)
        return by.skip * z + by.out * self.net(by.into * z, self.clock(s), told)

    # --- drawing ---

    def levels(self, draw: Draw) -> list[float]:
        """The levels of noise that a draw visits, the last of them 0."""
        steps = max(1, draw.steps // solvers.calls(draw.solver, self.how(draw)))
        own = self.ladder(steps)
        if draw.spacing != "own":
            every = self.ladder(10_000)
            own = (solvers.karras if draw.spacing == "karras" else solvers.geometric)(every[0], every[-1], steps)
        return [*own, 0.0]

    @staticmethod
    def how(draw: Draw) -> How:
        return How(eta=draw.eta, churn=draw.churn, corrections=draw.corrections, snr=draw.snr)

    def start(self, s: float, n: int) -> Tensor:
        """z at the noise that is as good as pure."""
        return (1 + s * s) ** 0.5 * noise.randn(n, *self.spec.shape, device=self.device)

    def denoiser(self, n: int, given: Given | None, draw: Draw | None = None) -> Denoise:
        """The guess of x_0, guided as asked; pixels stay in their range where they are drawn."""
        told = self.net.tell(given)
        plain = draw is None or not draw.guidance or not self.conditions
        either = None if plain else Told(*(None if a is None else torch.cat([a, b]) for a, b in zip(told, self.untold(n, given, draw))))

        def denoise(z: Tensor, s: float) -> Tensor:
            level = torch.full((n,), s, device=z.device)
            if either is None or draw is None or not draw.guidance_low <= s <= draw.guidance_high:
                x = self.guess(z, level, told)
            else:
                yes, no = self.guess(torch.cat([z, z]), level.repeat(2), either).chunk(2)
                x = yes + draw.guidance * (yes - no)
                if draw.rescale:
                    dims = tuple(range(1, x.ndim))
                    x = x * (1 + draw.rescale * (yes.std(dims, keepdim=True) / x.std(dims, keepdim=True).clamp(min=1e-6) - 1))
            return x.clamp(-1, 1) if self.spec.levels and draw is not None else x

        return denoise

    def untold(self, n: int, given: Given | None, draw: Draw | None) -> Told:
        """What is told of nothing, or of what is not wanted. Raises GenctlError (usage, prompt-token, prompt-length)."""
        hidden = torch.ones(n, dtype=torch.bool, device=self.device)
        name = self.net.caption
        if draw is None or not draw.negative:
            return self.net.tell(given, hidden)
        if not name:
            raise GenctlError("usage", "sample.negative: this model reads no text", "leave sample.negative out")
        row = letters.row(draw.negative, self.spec.given[name]).to(self.device).expand(n, -1)
        return self.net.tell({**(given or {}), "label": torch.full((n,), self.net.classes, device=self.device), name: row})

    def sample(self, n: int, draw: Draw, given: Given | None = None) -> Tensor:
        """From noise to x."""
        sigmas = self.levels(draw)
        z = self.start(sigmas[0], n)
        return self.off_line(solvers.SOLVERS[draw.solver](self.denoiser(n, given, draw), z, sigmas, self.how(draw)))

    # --- powers ---

    def impute(self, batch: Batch, draw: Draw) -> Tensor:
        """What is missing, drawn while what is known is put in its place at each level of noise."""
        sigmas, known = self.levels(draw.model_copy(update={"solver": "ancestral"})), self.to_line(batch.x)
        given = {k: batch.given[k] for k in self.conditions}
        denoise = self.denoiser(len(known), given, draw)
        z = solvers.repaint(denoise, self.start(sigmas[0], len(known)), sigmas, known, batch.mask, draw.resample)
        return torch.where(batch.mask, batch.x, self.off_line(z))

    def revise(self, batch: Batch, strength: float, draw: Draw) -> Tensor:
        """x with noise and back (Meng et al. 2022, SDEdit, https://arxiv.org/abs/2108.01073): that share of the levels, from the last."""
        sigmas = self.levels(draw)
        sigmas = sigmas[-1 - max(1, round(strength * (len(sigmas) - 1))) :]
        given = {k: batch.given[k] for k in self.conditions}
        z = self.to_line(batch.x)
        z = z + sigmas[0] * noise.randn(*z.shape, device=z.device)
        return self.off_line(solvers.SOLVERS[draw.solver](self.denoiser(len(z), given, draw), z, sigmas, self.how(draw)))
