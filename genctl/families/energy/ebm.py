"""Energy-based model: a network says how likely x is, up to a constant; three ways to learn it, chains that climb it to draw.

LeCun et al. 2006, http://yann.lecun.com/exdb/publis/pdf/lecun-06.pdf. Contrastive divergence with Langevin chains that live in a buffer: Du
and Mordatch 2019, https://arxiv.org/abs/1903.08689, and Nijkamp et al. 2020, https://arxiv.org/abs/1903.12370; denoising score matching: Vincent
2011, https://doi.org/10.1162/NECO_a_00142; noise-contrastive estimation: Gutmann and Hyvarinen 2010,
https://proceedings.mlr.press/v9/gutmann10a.html. The network tilts a Gaussian fitted to the data, so that there is a density on the whole
space and a way to it from one that is easy: log Z by annealed importance sampling, draws by population annealing.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from genctl import contract
from genctl.config import Settings
from genctl.contract import Batch, Given, Loss, Memory, Player, Progress, Spec, Stage
from genctl.errors import GenctlError
from genctl.families.energy._partition import Partitioned
from genctl.maths import ais, langevin, noise, ranks
from genctl.nets.conv import ConvEncoder
from genctl.nets.mlp import Width, mlp, waves

LOG2PI = math.log(2 * math.pi)
FLOOR = 0.3  # least deviation of the Gaussian, in units of the pixels'


class EBM(Partitioned):
    """p(y) = q(y) exp(f(y)) / Z, y = x in units of its deviation, q a Gaussian with the data's means and deviations."""

    kinds = frozenset({"vector", "image"})
    log_prob_is = "AIS"

    class Config(Settings):
        loss: Literal["cd", "dsm", "nce"] = "cd"
        """Contrastive divergence against chains, denoising score matching, or noise-contrastive estimation against the Gaussian."""
        hidden: list[Width] = Field(default_factory=lambda: [128, 128, 128], min_length=1, max_length=16)
        """Widths of the network's layers; of pictures the channels of convolutions, each of which halves the picture."""
        waves: int = Field(3, ge=0, le=16)
        """Rows of numbers: octaves of sines and cosines beside them."""
        sigma: float = Field(0.0, ge=0, le=10)
        """Deviation of the noise put on the data, in units of the data's: what is learned is the data so blurred. dsm needs some."""
        steps: int = Field(20, ge=1, le=10_000)
        """cd: moves that a chain makes before each update."""
        step: float = Field(0.1, gt=0, le=10)
        """cd: the noise of a move, in units of the data's deviation."""
        temperature: float = Field(1.0, gt=0, le=1)
        """cd: chains climb by step^2 / (2 temperature) times the slope; below 1 they find the data sooner, but are no draws of p."""
        chains: int = Field(1000, ge=1, le=1_000_000)
        """cd: chains in the buffer; each update moves as many as a batch has examples."""
        restart: float = Field(0.05, ge=0, le=1)
        """cd: the share of chains that begin anew."""
        regularise: float = Field(0.0, ge=0, le=100)
        """cd: weight of f^2 on data and chains, which keeps cold chains from running away (Du and Mordatch, section 3.3)."""
        ratio: int = Field(4, ge=1, le=1000)
        """nce: draws of noise for each example."""
        ais_chains: int = Field(500, ge=2, le=100_000)
        """Chains that estimate log Z."""
        ais_steps: int = Field(1000, ge=1, le=1_000_000)
        """Inverse temperatures that each of them passes."""

    class Draw(contract.Draw):
        sweeps: int = Field(300, ge=1, le=1_000_000)
        """Moves from the Gaussian to a sample, or of what is to be imputed."""
        way: Literal["auto", "anneal", "walk"] = "auto"
        """By population annealing, or as training's chains walk; auto: annealing where the temperature is 1."""

    def __init__(self, config: Config, spec: Spec) -> None:
        super().__init__(config, spec)
        if spec.levels == 2:
            raise GenctlError("config", "an energy of numbers; this data is binary", "family: rbm, or data.binarize=none")
        if config.loss == "dsm" and not config.sigma:
            raise GenctlError("config", "model.loss=dsm: there is no noise to take away", "model.sigma=0.1")
        size, out = spec.size, self.outputs(spec)
        self.picture = spec.kind == "image"
        if self.picture:
            self.net: nn.Module = ConvEncoder(spec.shape, config.hidden, out, "silu", [config.hidden[-1]])
        else:
            self.net = mlp([size * (1 + 2 * config.waves), *config.hidden, out], "silu")
        if out == 1 and config.loss != "nce" and not (config.loss == "cd" and config.regularise):  # slopes and gaps know no constant
            last = [m for m in self.net.modules() if isinstance(m, nn.Linear)][-1]
            nn.init.zeros_(last.bias).requires_grad_(False)
        self.register_buffer("shift", torch.zeros(size))  # mean and scale of the data, from the first batch; of pictures one for all pixels
        self.register_buffer("scale", torch.ones(size))
        self.register_buffer("mean", torch.zeros(size))  # of q
        self.register_buffer("std", torch.ones(size))
        self.register_buffer("ready", torch.zeros((), dtype=torch.bool))
        if config.loss == "cd":
            self.memory = Memory(y=torch.zeros(config.chains, size))
        self.fantasies = torch.zeros(0, size)  # the chains that this step moved

    def outputs(self, spec: Spec) -> int:
        """Numbers that the network says of x."""
        return 1

    # --- the density ---

    def said(self, y: Tensor) -> Tensor:
        """What the network says of y (B, D): (B, outputs)."""
        out: Tensor = self.net(y.view(-1, *self.spec.shape) if self.picture else waves(y, self.config.waves))
        return out

    def tilt(self, y: Tensor, label: Tensor | None = None) -> Tensor:
        """f(y) (B,)."""
        return self.said(y)[:, 0]

    def base(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """log q(y) (B,), and its slope (B, D)."""
        z = (y - self.mean) / self.std
        return -0.5 * (z.square().sum(1) + LOG2PI * self.spec.size) - self.std.log().sum(), -z / self.std

    def slope(self, y: Tensor, label: Tensor | None = None, graph: bool = False) -> tuple[Tensor, Tensor]:
        """f(y) (B,), and its slope (B, D)."""
        with torch.enable_grad():
            y = y.detach().requires_grad_(True)
            f = self.tilt(y, label)
            (slope,) = torch.autograd.grad(f.sum(), y, create_graph=graph)
        return (f, slope) if graph else (f.detach(), slope)

    def start(self, n: int) -> Tensor:
        """n draws of q (n, D)."""
        return self.mean + self.std * noise.randn(n, self.spec.size, device=self.device)

    def climb(self, y: Tensor, steps: int, label: Tensor | None = None, held: Tensor | None = None) -> Tensor:
        """y after so many moves of training's chains; where `held` (B, D) is True it stays. Pictures stay in their range."""

        def score(y: Tensor) -> Tensor:
            return self.base(y)[1] + self.slope(y, label)[1]

        low, high = (float((k - self.shift[0]) / self.scale[0]) for k in (0, 1))
        for _ in range(steps):
            new = langevin.walk(score, y, [self.config.step], self.config.temperature, (low, high) if self.spec.levels else None)
            y = new if held is None else torch.where(held, y, new)
        return y

    # --- between x and y ---

    def into(self, x: Tensor) -> Tensor:
        """y (B, D) of x; of pictures anywhere within their levels."""
        x, levels = x.flatten(1), self.spec.levels
        if levels:
            x = (x * (levels - 1) + noise.rand(*x.shape, device=x.device)) / levels
        return (x - self.shift) / self.scale

    def out_of(self, y: Tensor) -> Tensor:
        x = (y * self.scale + self.shift).view(-1, *self.spec.shape)
        return x.clamp(0, 1) if self.spec.levels else x

    def standardise(self, x: Tensor) -> None:
        """Means and deviations of the first batch."""
        x = ranks.gather(self.into(x))
        self.shift.copy_(x.mean() if self.picture else x.mean(0))
        self.scale.copy_((x.var() if self.picture else x.var(0)).clamp(min=1e-12).sqrt())
        y = (x - self.shift) / self.scale
        self.mean.copy_(y.mean(0))
        self.std.copy_(y.std(0).clamp(min=FLOOR))
        self.ready.fill_(True)

    # --- training ---

    def stages(self) -> list[Stage]:
        player = Player(name="model", params=list(self.parameters()), loss=self.learn)
        return [Stage(name="train", players=[player], feed=self.advance)]

    def advance(self, batch: Batch, at: Progress) -> Batch:
        """At the first step: the data's scale, and chains; at every one, the chains whose turn it is move."""
        if at.step == 0 and not self.ready:
            self.standardise(batch.x)
        if self.config.loss != "cd":
            return batch
        chains = self.memory.y
        if at.step == 0:
            chains.copy_(self.start(len(chains)))
        turns = max(1, len(chains) // len(batch))  # strided, so that each rank's share of the chains is the same set whatever their number
        n = len(chains) // turns
        rows = torch.arange(n, device=self.device) * turns + at.step % turns
        anew = noise.rand(n, 1, device=self.device) < self.config.restart
        self.fantasies = self.climb(torch.where(anew, self.start(n), chains[rows]), self.config.steps)
        chains[rows] = self.fantasies
        return batch

    def learn(self, batch: Batch, at: Progress) -> Loss:
        y = self.into(batch.x)
        if self.config.sigma and self.config.loss != "dsm":
            y = y + self.config.sigma * noise.randn(*y.shape, device=y.device)
        return Loss({"cd": self.contrast, "dsm": self.denoise, "nce": self.discern}[self.config.loss](y))

    def contrast(self, y: Tensor) -> Tensor:
        """f of the chains less that of the data: its gradient is that of -log p(y) if the chains are draws of p."""
        f, f_ = self.tilt(y), self.tilt(self.fantasies)
        return f_.mean() - f.mean() + self.config.regularise * (f.square().mean() + f_.square().mean())

    def denoise(self, y: Tensor) -> Tensor:
        """How far the slope of log p is from what takes the noise away again, -eps / sigma, in units of 1 / sigma."""
        sigma, eps = self.config.sigma, noise.randn(*y.shape, device=y.device)
        noisy = y + sigma * eps
        score = self.base(noisy)[1] + self.slope(noisy, graph=True)[1]
        return 0.5 * (sigma * score + eps).square().sum(1).mean()

    def discern(self, y: Tensor) -> Tensor:
        """Cross-entropy of telling the data from draws of q by f = log p / q, which must then be normalised (eq. 3)."""
        share = math.log(self.config.ratio)
        drawn = self.start(len(y) * self.config.ratio)
        return F.softplus(share - self.tilt(y)).mean() + self.config.ratio * F.softplus(self.tilt(drawn) - share).mean()

    # --- the contract ---

    def sample(self, n: int, draw: Draw, given: Given | None = None) -> Tensor:
        """From draws of q: cooled together, or by the walk of training's chains, whose buffer is no part of a checkpoint."""
        cold = self.config.loss == "cd" and self.config.temperature < 1
        if draw.way == "walk" or (draw.way == "auto" and (cold or self.conditions)):
            label = given["label"] if given and self.conditions else None
            return self.out_of(self.climb(self.start(n), draw.sweeps, label))
        return self.out_of(langevin.Bridge(self.base, self.slope).anneal(self.start(n), draw.sweeps)[0])

    # --- powers ---

    def energy(self, batch: Batch) -> Tensor:
        """-log q(x) - f(x) (B,), of x in its own units; of pictures in levels."""
        y = self.into(batch.x)
        units = self.scale.log().sum() + self.spec.size * math.log(self.spec.levels or 1)
        return units - self.base(y)[0] - self.tilt(y)

    def log_prob(self, batch: Batch) -> Tensor:
        """-energy(x) - log Z (B,): a density of numbers; of pictures log P(x) >= E log p(x + u), u within the level."""
        return -self.energy(batch) - self.log_partition()[0]

    def partition(self) -> tuple[float, float]:
        """log E_q exp(f) and its standard error; noise-contrastive estimation aims at 0."""
        bridge, steps = langevin.Bridge(self.base, self.slope), self.config.ais_steps
        start = bridge.at(self.start(self.config.ais_chains))
        return ais.log_mean(ais.log_weights(start, (k / steps for k in range(steps + 1)), bridge.increment, bridge.move))

    def impute(self, batch: Batch, draw: Draw) -> Tensor:
        """What is missing from a draw of q on, given the rest: by an adjusted walk, or as training's chains walk where they are cold."""
        seen = batch.mask.flatten(1)
        y = torch.where(seen, self.into(batch.x), self.start(len(batch)))
        if self.config.loss == "cd" and self.config.temperature < 1:
            y = self.climb(y, draw.sweeps, held=seen)
        else:
            y = langevin.mala(self.whole, y, ~seen, draw.sweeps)
        return torch.where(batch.mask, batch.x, self.out_of(y))

    def whole(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """log q(y) + f(y) (B,), and its slope (B, D)."""
        (q, dq), (f, df) = self.base(y), self.slope(y)
        return q + f, dq + df
