"""Networks from picture to picture, of any height and width: a U-Net with skips, and a critic of patches.

Isola et al. 2017, Image-to-Image Translation with Conditional Adversarial Networks, https://arxiv.org/abs/1611.07004, section 6.1.
"""

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genctl.maths import noise


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
