"""Deep convolutional GAN: a generator learns to draw what a critic takes for real.

Radford, Metz and Chintala 2016, https://arxiv.org/abs/1511.06434. Clips are convolved over time as well (Vondrick et al. 2016,
https://arxiv.org/abs/1609.02612). The relativistic pairs that with R1 and R2 keep all modes: Huang et al. 2024,
https://arxiv.org/abs/2501.05441.
"""

import itertools
import math
from collections.abc import Callable

from pydantic import Field
from torch import Tensor, nn

from genctl.contract import Spec
from genctl.errors import GenctlError
from genctl.families.adversarial._game import Game, GameConfig, halvings
from genctl.nets.conv import Crop, normed

CONV: dict[int, Callable[..., nn.Module]] = {2: nn.Conv2d, 3: nn.Conv3d}
BACK: dict[int, Callable[..., nn.Module]] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


class DCGAN(Game):
    """Section 3 of the paper: strided convolutions, batch-norm, ReLU in G, leaky ReLU in D."""

    kinds = frozenset({"image", "video"})

    class Config(GameConfig):
        width: int = Field(64, ge=1, le=1024)
        """Channels of the finest layer, doubled at each halving of the picture, until it is 4 pixels or less."""
        norm: bool = True
        """Batch normalisation in the generator."""
        norm_critic: bool = True
        """Batch normalisation in the critic (all but its first layer); off it goes well with r1."""

    def __init__(self, config: Config, spec: Spec) -> None:
        super().__init__(config, spec)
        clip = spec.kind == "video"
        channels, size = (spec.shape[1], (spec.shape[0], *spec.shape[2:])) if clip else (spec.shape[0], spec.shape[1:])
        if max(size) < 8:
            raise GenctlError("config", f"dcgan needs pictures of 8 pixels or more; these are {list(spec.shape)}", "family: gan")
        sizes = halvings(size)
        widths = [config.width * 2**k for k in range(len(sizes) - 1)]
        self.generator = _generator(sizes, widths, channels, self.wide, config.norm)
        self.critic = _critic(sizes, widths, channels, config.norm_critic, self.verdict)
        if clip:
            self.generator, self.critic = nn.Sequential(*self.generator, Turn()), nn.Sequential(Turn(), *self.critic)
        self.ready()


class Turn(nn.Module):
    """(B, T, C, H, W) to (B, C, T, H, W) and back."""

    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2)


def _generator(sizes: list[tuple[int, ...]], widths: list[int], channels: int, code: int, norm: bool) -> nn.Sequential:
    back = BACK[len(sizes[0])]
    layers: list[nn.Module] = [nn.Linear(code, widths[-1] * math.prod(sizes[-1])), nn.Unflatten(1, (widths[-1], *sizes[-1]))]
    layers += [*normed(widths[-1], norm), nn.ReLU()]
    for k, (a, b) in enumerate(itertools.pairwise([*reversed(widths), channels])):
        layers += [back(a, b, 4, stride=2, padding=1), Crop(*sizes[-2 - k])]
        if k < len(widths) - 1:
            layers += [*normed(b, norm), nn.ReLU()]
    return _start(nn.Sequential(*layers), norm)


def _critic(
    sizes: list[tuple[int, ...]], widths: list[int], channels: int, norm: bool, verdict: Callable[[int], nn.Linear]
) -> nn.Sequential:
    conv = CONV[len(sizes[0])]
    layers: list[nn.Module] = []
    for k, (a, b) in enumerate(itertools.pairwise([channels, *widths])):
        even = all(n % 2 == 0 for n in sizes[k])
        layers += [conv(a, b, 3 + even, stride=2, padding=1), *normed(b, norm and k > 0), nn.LeakyReLU(0.2)]
    layers += [nn.Flatten(), verdict(widths[-1] * math.prod(sizes[-1]))]
    return _start(nn.Sequential(*layers), norm)


def _start(net: nn.Sequential, norm: bool) -> nn.Sequential:
    """Weights of standard deviation 0.02 (section 4): batch-norm makes up for it; without it torch's own start is better."""
    if norm:
        for m in net.modules():
            if isinstance(m, nn.Linear | nn.modules.conv._ConvNd):
                nn.init.normal_(m.weight, std=0.02)
    return net
