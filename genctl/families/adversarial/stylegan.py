"""StyleGAN2: a mapping turns noise into styles, which scale every layer of a synthesis; adaptive augmentation for few pictures.

Karras et al. 2020, https://arxiv.org/abs/1912.04958; augmentation: https://arxiv.org/abs/2006.06676.
"""

import math

import torch
from pydantic import Field
from torch import Tensor, nn

from genctl import contract
from genctl.contract import Batch, Given, Loss, Progress, Spec
from genctl.errors import GenctlError
from genctl.families.adversarial._game import Game, GameConfig, PayOff
from genctl.maths import noise, ranks
from genctl.nets.stylegan import Linear, Mapping, Synthesis, critic


class StyleGAN(Game):
    """Configuration F of the paper: skip generator, residual critic, lazy R1 and path length, no growing."""

    kinds = frozenset({"image"})
    mean_style: Tensor
    mean_length: Tensor

    class Config(GameConfig):
        latent: int = Field(512, ge=1, le=4096)
        """Dimensions of z."""
        style: int = Field(512, ge=1, le=4096)
        """Dimensions of w."""
        mapping: int = Field(8, ge=1, le=32)
        """Layers from z to w."""
        base: int = Field(32_768, ge=64, le=262_144)
        """A picture of so many pixels a side has base / side channels, but not more than `width`."""
        width: int = Field(512, ge=4, le=2048)
        """Most channels of a layer."""
        loss: PayOff = "non-saturating"
        """The game's pay-off."""
        r1: float = Field(10.0, ge=0, le=10_000)
        """Weight gamma of the penalty on the critic's gradient at real examples; 0: none."""
        r1_every: int = Field(16, ge=1, le=1000)
        """Steps between these penalties, which are then so many times as heavy."""
        mixing: float = Field(0.9, ge=0, le=1)
        """The share of examples drawn with two styles, one for the coarse layers and one for the fine."""
        path: float = Field(2.0, ge=0, le=1000)
        """Weight of the path length penalty: a step of w should change the picture by the same wherever it is taken (section 3.2)."""
        path_every: int = Field(4, ge=1, le=1000)
        """Steps between these penalties, which are then so many times as heavy; each looks at every other example."""

    class Draw(contract.Draw):
        truncation: float = Field(1.0, ge=0, le=2)
        """How far w is taken from its mean: less is more typical and less varied; 1 as trained."""
        coarse: int = Field(0, ge=0, le=64)
        """Truncate the first so many layers alone; 0: all."""

    def __init__(self, config: Config, spec: Spec) -> None:
        super().__init__(config, spec)
        channels, height, width = spec.shape
        sizes = int(math.log2(max(height, width, 1)))
        if height != width or 2**sizes != height or height < 8:
            raise GenctlError("config", f"stylegan needs squares of 8, 16, 32, ... pixels; these are {list(spec.shape)}", "family: dcgan")
        widths = [min(config.width, max(1, config.base // 2**k)) for k in range(2, sizes + 1)]
        self.mapping = Mapping(config.latent, self.classes, config.style, config.mapping)
        self.generator = Synthesis(widths, channels, config.style)
        self.critic = nn.Sequential(*critic(widths, channels), Linear(widths[0], 1))
        self.register_buffer("mean_style", torch.zeros(config.style))
        self.register_buffer("mean_length", torch.zeros(()))
        self.ready()

    # --- from z to w to x ---

    def styles(self, code: Tensor, given: Given | None) -> Tensor:
        """w (B, D)."""
        out: Tensor = self.mapping(self.labelled_code(code, given))
        return out

    def draw(self, w: Tensor) -> Tensor:
        """w (B, layers, D) -> (B, *shape) in the data's scale."""
        x: Tensor = self.generator(w)
        return (x + 1) / 2 if self.spec.levels else x

    def decode(self, code: Tensor, given: Given | None = None) -> Tensor:
        """G(z): (B, *shape); in training partly with the style of another z in its finer layers (section 3.1 of StyleGAN)."""
        x = self.draw(self.mixed(code, given))
        return x if self.training or not self.spec.levels else x.clamp(0, 1)

    def mixed(self, code: Tensor, given: Given | None) -> Tensor:
        """w (B, layers, D)."""
        w, count = self.styles(code, given), self.generator.count
        if not self.training:
            return w[:, None].expand(-1, count, -1)
        with torch.no_grad():
            total = ranks.total(torch.cat([w.sum(0), w.new_tensor([float(len(w))])]))
            self.mean_style.lerp_(total[:-1] / total[-1], 0.005)
        if not self.config.mixing:
            return w[:, None].expand(-1, count, -1)
        other = self.styles(self.prior(len(code)), given)
        at = 1 + noise.randint(count - 1, len(code), device=code.device)
        at = torch.where(noise.rand(len(code), device=code.device) < self.config.mixing, at, count)
        first = torch.arange(count, device=code.device) < at[:, None]
        return torch.where(first[:, :, None], w[:, None], other[:, None])

    def sample(self, n: int, draw: Draw, given: Given | None = None) -> Tensor:
        """G(z), w truncated towards its mean; for binary data its values are probabilities of 1."""
        w = self.styles(self.prior(n), given)[:, None].expand(-1, self.generator.count, -1)
        near = torch.lerp(self.mean_style, w, draw.truncation)
        kept = torch.arange(self.generator.count, device=w.device) >= (draw.coarse or self.generator.count)
        x = self.draw(torch.where(kept[:, None], w, near))
        x = x.clamp(0, 1) if self.spec.levels else x
        return noise.bernoulli(x) if self.spec.levels == 2 else x

    # --- the game ---

    def generator_loss(self, batch: Batch, at: Progress) -> Loss:
        game = super().generator_loss(batch, at)
        c = self.config
        if not c.path or at.step % c.path_every:
            return game
        half = Batch(x=batch.x[::2], given={k: v[::2] for k, v in batch.given.items()})
        length = self.length(self.mixed(self.prior(len(half)), half.given))
        with torch.no_grad():
            total = ranks.total(torch.stack([length.sum(), length.new_tensor(float(len(length)))]))
            self.mean_length.lerp_(total[0] / total[1], 0.01)
        penalty = (length - self.mean_length).square().mean()
        return Loss(game.total + c.path * c.path_every * penalty, game=game.total, path_length=length.mean(), path_penalty=penalty)

    def length(self, w: Tensor) -> Tensor:
        """||J^T y|| (B,) of the picture at w for random pictures y (eq. 4), the mean square over layers."""
        w = w.requires_grad_(True) if w.is_leaf else w
        with torch.enable_grad(), torch.autocast(w.device.type, enabled=False):
            x = self.generator(w)
            y = noise.randn(len(x), *x.shape[1:], device=x.device) / math.sqrt(x.shape[2] * x.shape[3])
            (slope,) = torch.autograd.grad((x * y).sum(), w, create_graph=True)
        return slope.square().sum(2).mean(1).sqrt()

    def forgers(self) -> list[nn.Parameter]:
        return [*self.mapping.parameters(), *self.generator.parameters()]
