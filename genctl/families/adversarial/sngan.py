"""Spectrally normalised GAN: residual networks, a critic no layer of which can stretch anything, and the hinge game.

Miyato et al. 2018, https://arxiv.org/abs/1802.05957 (networks: figure 8 and tables 4 to 6). With `spectral: false`, `norm: false`,
`loss: relativistic`, r1 and r2 it is the plain modern baseline of Huang et al. 2024, https://arxiv.org/abs/2501.05441.
"""

import math

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from genctl.contract import Spec
from genctl.errors import GenctlError
from genctl.families.adversarial._game import Game, GameConfig, PayOff, halvings
from genctl.nets.conv import Crop
from genctl.nets.norm import BatchNorm


class SNGAN(Game):
    """G doubles a small picture by residual blocks, D halves it again and sums what is left over all places."""

    kinds = frozenset({"image"})

    class Config(GameConfig):
        loss: PayOff = "hinge"
        """The game's pay-off."""
        spectral: bool = True
        """Every layer of the critic divided by its largest singular value."""
        width: int = Field(64, ge=1, le=1024)
        """Channels of every layer."""
        norm: bool = True
        """Batch normalisation in the generator; for a conditional one its gains and offsets are the class's own."""

    def __init__(self, config: Config, spec: Spec) -> None:
        super().__init__(config, spec)
        if max(spec.shape[1:]) < 8:
            raise GenctlError("config", f"sngan needs pictures of 8 pixels or more; these are {list(spec.shape)}", "family: gan")
        sizes = halvings(spec.shape[1:])
        self.generator = Generator(sizes, spec.shape[0], config.latent, self.classes, config.width, config.norm)
        blocks: list[nn.Module] = [Down(spec.shape[0], config.width, first=True)]
        blocks += [Down(config.width, config.width, halve=k + 2 < len(sizes)) for k in range(len(sizes))]
        self.critic = nn.Sequential(*blocks, nn.ReLU(), Sum(), self.verdict(config.width))
        self.ready()


class Norm(nn.Module):
    """Batch normalisation, whose gains and offsets are each class's own where there are classes."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.norm = BatchNorm(channels)
        self.own = nn.Linear(classes, 2 * channels, bias=False) if classes else None
        if self.own:
            nn.init.zeros_(self.own.weight)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        x = self.norm(x)
        if self.own is None:
            return x
        gain, offset = self.own(label)[:, :, None, None].chunk(2, 1)
        return x * (1 + gain) + offset  # type: ignore[no-any-return]


class Up(nn.Module):
    """(B, C, H, W) doubled and cut to `size`, plus two convolutions of it, each behind a norm and a ReLU."""

    def __init__(self, channels: int, size: tuple[int, ...], classes: int, norm: bool) -> None:
        super().__init__()
        self.norms = nn.ModuleList([Norm(channels, classes) for _ in range(2)]) if norm else None
        self.convs = nn.ModuleList([nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2)])
        self.aside, self.crop = nn.Conv2d(channels, channels, 1), Crop(*size)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        h = x
        for k, conv in enumerate(self.convs):
            h = F.relu(h if self.norms is None else self.norms[k](h, label))
            h = conv(self.doubled(h) if k == 0 else h)
        out: Tensor = h + self.aside(self.doubled(x))
        return out

    def doubled(self, x: Tensor) -> Tensor:
        out: Tensor = self.crop(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return out


class Generator(nn.Module):
    """(B, latent + classes) -> (B, channels, *sizes[0])."""

    def __init__(self, sizes: list[tuple[int, ...]], channels: int, latent: int, classes: int, width: int, norm: bool) -> None:
        super().__init__()
        self.latent = latent
        self.first = nn.Sequential(nn.Linear(latent + classes, width * math.prod(sizes[-1])), nn.Unflatten(1, (width, *sizes[-1])))
        self.blocks = nn.ModuleList([Up(width, size, classes, norm) for size in reversed(sizes[:-1])])
        self.norm = Norm(width, classes) if norm else None
        self.last = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, code: Tensor) -> Tensor:
        h, label = self.first(code), code[:, self.latent :]
        for block in self.blocks:
            h = block(h, label)
        out: Tensor = self.last(F.relu(h if self.norm is None else self.norm(h, label)))
        return out


class Down(nn.Module):
    """(B, a, H, W) -> (B, b, H/2, W/2): two convolutions and a mean of four, plus the same mean of x. `first`: x is a picture."""

    def __init__(self, a: int, b: int, first: bool = False, halve: bool = True) -> None:
        super().__init__()
        self.first, self.halve = first, halve
        self.convs = nn.ModuleList([nn.Conv2d(c, b, 3, padding=1) for c in (a, b)])
        self.aside = nn.Conv2d(a, b, 1) if first or halve else None

    def forward(self, x: Tensor) -> Tensor:
        h = x
        for k, conv in enumerate(self.convs):
            h = conv(h if self.first and k == 0 else F.relu(h))
        out: Tensor = self.pooled(h) + (x if self.aside is None else self.aside(self.pooled(x)))
        return out

    def pooled(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 2, ceil_mode=True) if self.halve else x


class Sum(nn.Module):
    """(B, C, H, W) -> (B, C)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum((2, 3))
