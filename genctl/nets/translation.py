"""Networks from picture to picture, of any height and width, and the critics that judge what they make.

Isola et al. 2017, Image-to-Image Translation with Conditional Adversarial Networks, https://arxiv.org/abs/1611.07004, section 6.1.
"""

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genctl.maths import noise
from genctl.nets.norm import BatchNorm


class Norm(nn.Module):
    """Each channel of each picture (B, C, H, W) to mean 0 and deviation 1, then scaled; a single pixel is let pass.

    Ulyanov et al. 2016, https://arxiv.org/abs/1607.08022.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2] * x.shape[3] == 1:
            return x
        return F.instance_norm(x, weight=self.weight, bias=self.bias)


class UNet(nn.Module):
    """(B, a, H, W) -> (B, b, H, W): halved `depth` times and doubled again, each size beside what it was on the way down.

    dropout    in the deepest half of the way up: the only noise of the paper (section 3.1). Drawn in training and in sampling alike
    """

    def __init__(self, a: int, b: int, width: int, depth: int, dropout: float) -> None:
        super().__init__()
        widths = [min(width * 2**k, 8 * width) for k in range(depth)]
        self.down = nn.ModuleList(
            [nn.Conv2d(m, n, 4, stride=2, padding=1, bias=k in (0, depth - 1)) for k, (m, n) in enumerate(itertools.pairwise([a, *widths]))]
        )
        ups = [*reversed(widths[:-1]), b]
        before = [widths[-1], *(2 * w for w in ups[:-1])]
        self.up = nn.ModuleList(
            [
                nn.ConvTranspose2d(m, n, 4, stride=2, padding=1, bias=k == depth - 1)
                for k, (m, n) in enumerate(zip(before, ups, strict=True))
            ]
        )
        self.norm_down = nn.ModuleList([Norm(w) for w in widths[1:-1]])
        self.norm_up = nn.ModuleList([Norm(w) for w in ups[:-1]])
        self.depth, self.dropout = depth, dropout

    def forward(self, x: Tensor, drop: bool = True) -> Tensor:
        height, width = x.shape[2:]
        step = 2**self.depth
        x = F.pad(x, (0, -width % step, 0, -height % step), mode="replicate")
        kept: list[Tensor] = []
        for k, conv in enumerate(self.down):
            x = conv(F.leaky_relu(x, 0.2) if k else x)
            if 0 < k < self.depth - 1:
                x = self.norm_down[k - 1](x)
            kept.append(x)
        for k, conv in enumerate(self.up):
            x = conv(F.relu(x))
            if k < self.depth - 1:
                x = self.norm_up[k](x)
                if self.dropout and drop and k < self.depth // 2:
                    x = x * (noise.rand(*x.shape, device=x.device) >= self.dropout) / (1 - self.dropout)
                x = torch.cat([x, kept[self.depth - 2 - k]], 1)
        return x[:, :, :height, :width]


class Patches(nn.Module):
    """(B, a, H, W) -> (B, H', W') logits, one a patch: after `halvings` strided convolutions a patch is 70 pixels wide for three."""

    def __init__(self, a: int, width: int, halvings: int, bias: bool = True) -> None:
        super().__init__()
        widths = [min(width * 2**k, 8 * width) for k in range(halvings + 1)]
        layers: list[nn.Module] = []
        for k, (m, n) in enumerate(itertools.pairwise([a, *widths])):
            conv = nn.Conv2d(m, n, 4, stride=2 if k < halvings else 1, padding=1, bias=k == 0)
            layers += [conv, *([Norm(n)] if k else []), nn.LeakyReLU(0.2)]
        self.net = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 4, padding=1, bias=bias))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)[:, 0]
        return out


class SRResNet(nn.Module):
    """(B, a, H, W) -> (B, b, H * scale, W * scale), of any height and width: residual blocks at the small size, then shuffles to the large.

    once    one shuffle makes the picture, as in Shi et al. 2016, https://arxiv.org/abs/1609.05158; else features are doubled step by step
            and a 9x9 convolution at the full size makes it, as in the paper, for three times the work
    norm    batch normalisation in the blocks, as in the paper; without it as in Lim et al. 2017, https://arxiv.org/abs/1707.02921
    Ledig et al. 2017, https://arxiv.org/abs/1609.04802, figure 4. A scale that is no power of two is shuffled at once.
    """

    def __init__(self, a: int, b: int, width: int, blocks: int, scale: int, norm: bool, once: bool) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(a, width, 9, padding=4), nn.PReLU())
        self.blocks = nn.ModuleList([_block(width, norm) for _ in range(blocks)])
        self.middle = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=not norm), *([BatchNorm(width)] if norm else []))
        if once:
            self.last = nn.Sequential(nn.Conv2d(width, b * scale * scale, 3, padding=1), nn.PixelShuffle(scale))
            return
        halves = scale.bit_length() - 1
        steps = [2] * halves if scale == 2**halves else [scale]
        ups = [nn.Sequential(nn.Conv2d(width, width * k * k, 3, padding=1), nn.PixelShuffle(k), nn.PReLU()) for k in steps]
        self.last = nn.Sequential(*ups, nn.Conv2d(width, b, 9, padding=4))

    def forward(self, x: Tensor) -> Tensor:
        first = h = self.first(x)
        for block in self.blocks:
            h = h + block(h)
        out: Tensor = self.last(first + self.middle(h))
        return out


def _block(width: int, norm: bool) -> nn.Sequential:
    def half() -> list[nn.Module]:
        return [nn.Conv2d(width, width, 3, padding=1, bias=not norm), *([BatchNorm(width)] if norm else [])]

    return nn.Sequential(*half(), nn.PReLU(), *half())


class ResNet(nn.Module):
    """(B, a, H, W) -> (B, b, H, W), of any height and width: halved twice, residual blocks, doubled twice; instance norms throughout.

    Johnson et al. 2016, https://arxiv.org/abs/1603.08155, as in Zhu et al. 2017, https://arxiv.org/abs/1703.10593, section 4.
    resize    doubling by nearest neighbours and a convolution, which leaves no checkerboards; else by transposed convolutions as there
    """

    HALVINGS = 2

    def __init__(self, a: int, b: int, width: int, blocks: int, resize: bool = True) -> None:
        super().__init__()
        widths = [width * 2**k for k in range(self.HALVINGS + 1)]
        layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(a, width, 7, bias=False), Norm(width), nn.ReLU()]
        for m, n in itertools.pairwise(widths):
            layers += [nn.Conv2d(m, n, 3, stride=2, padding=1, bias=False), Norm(n), nn.ReLU()]
        layers += [_Reflected(widths[-1]) for _ in range(blocks)]
        for m, n in itertools.pairwise(reversed(widths)):
            if resize:
                layers += [nn.Upsample(scale_factor=2), nn.Conv2d(m, n, 3, padding=1, bias=False)]
            else:
                layers += [nn.ConvTranspose2d(m, n, 3, stride=2, padding=1, output_padding=1, bias=False)]
            layers += [Norm(n), nn.ReLU()]
        self.net = nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(width, b, 7))

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        step = 2**self.HALVINGS
        least = 2 * step  # reflections need more than one pixel at the smallest size
        down, across = (max(least, n + -n % step) - n for n in (height, width))
        x = F.pad(x, (0, across, 0, down), mode="replicate")
        out: Tensor = self.net(x)
        return out[:, :, :height, :width]


class _Reflected(nn.Module):
    """x + two 3x3 convolutions that see the edge mirrored."""

    def __init__(self, width: int) -> None:
        super().__init__()

        def half() -> list[nn.Module]:
            return [nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3, bias=False), Norm(width)]

        self.net = nn.Sequential(*half(), nn.ReLU(), *half())

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.net(x)
        return out


class Judge(nn.Module):
    """(B, a, H, W) -> (B, 1) logits: pairs of 3x3 convolutions of doubling width, every other one of stride 2, then two linear layers.

    Ledig et al. 2017, figure 4, without its batch norms (Wang et al. 2018, https://arxiv.org/abs/1809.00219) and with an average over
    places in front of the linear layers, so that it takes any size.
    """

    def __init__(self, a: int, width: int, halvings: int, bias: bool = True) -> None:
        super().__init__()
        widths = [min(width * 2**k, 8 * width) for k in range(halvings)]
        layers: list[nn.Module] = []
        for m, n in itertools.pairwise([a, *widths]):
            layers += [nn.Conv2d(m, n, 3, padding=1), nn.LeakyReLU(0.2), nn.Conv2d(n, n, 3, stride=2, padding=1), nn.LeakyReLU(0.2)]
        wide = 16 * widths[-1]
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], wide), nn.LeakyReLU(0.2), nn.Linear(wide, 1, bias=bias)]
        self.net = nn.Sequential(*layers, *head)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        return out
