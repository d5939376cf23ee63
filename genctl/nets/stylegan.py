"""The networks of StyleGAN2: a mapping, a synthesis by modulated convolutions with an RGB skip, a residual critic.

Karras et al. 2020, Analyzing and Improving the Image Quality of StyleGAN, https://arxiv.org/abs/1912.04958; the details of layers as in
Karras et al. 2020, Training GANs with Limited Data, https://arxiv.org/abs/2006.06676, appendix D. Plain PyTorch: no operation to compile.
"""

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genctl.maths import noise


def leaky(x: Tensor) -> Tensor:
    """Leaky ReLU whose output has the variance of its input."""
    return F.leaky_relu(x, 0.2) * math.sqrt(2)


def filtered(x: Tensor, gain: float = 1.0, stride: int = 1, pad: Sequence[int] = (1, 2, 1, 2)) -> Tensor:
    """Each channel through the low-pass filter [1, 3, 3, 1] both ways, which keeps doubling and halving free of steps."""
    tap = x.new_tensor([1.0, 3.0, 3.0, 1.0]) / 8
    kernel = (gain * tap[:, None] * tap).expand(x.shape[1], 1, 4, 4)
    return F.conv2d(F.pad(x, list(pad)), kernel, stride=stride, groups=x.shape[1])


def doubled(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C, 2H, 2W) through the filter."""
    b, c, h, w = x.shape
    spread = torch.stack([torch.stack([x, torch.zeros_like(x)], -1), x.new_zeros(b, c, h, w, 2)], 3)
    return filtered(spread.reshape(b, c, 2 * h, 2 * w), gain=4.0, pad=(2, 1, 2, 1))


def halved(x: Tensor) -> Tensor:
    """(B, C, 2H, 2W) -> (B, C, H, W) through the filter."""
    return filtered(x, stride=2, pad=(1, 1, 1, 1))


class Linear(nn.Module):
    """A linear layer of unit-variance weights, scaled when used, so that all layers learn at one rate; `lr` times that."""

    def __init__(self, a: int, b: int, bias: float = 0.0, lr: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(b, a) / lr)
        self.bias = nn.Parameter(torch.full((b,), bias / lr))
        self.in_features, self.lr = a, lr

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * (self.lr / math.sqrt(self.in_features)), self.bias * self.lr)


class Mapping(nn.Module):
    """z (B, D), and a class one-hot, to w (B, style): z brought to unit length a number, then layers that learn slowly."""

    def __init__(self, latent: int, classes: int, style: int, layers: int) -> None:
        super().__init__()
        self.latent = latent
        self.told = Linear(classes, latent) if classes else None
        first = 2 * latent if classes else latent
        self.layers = nn.ModuleList([Linear(first if k == 0 else style, style, lr=0.01) for k in range(layers)])

    def forward(self, code: Tensor) -> Tensor:
        parts = [code[:, : self.latent]]
        if self.told is not None:
            parts.append(self.told(code[:, self.latent :]))
        x = torch.cat([p * torch.rsqrt(p.square().mean(1, keepdim=True) + 1e-8) for p in parts], 1)
        for layer in self.layers:
            x = leaky(layer(x))
        return x


class Modulated(nn.Module):
    """A convolution whose input channels are scaled by a style, its output brought back to unit variance (section 2.2).

    The scales are put on the activations before and after one shared convolution: the same numbers as a weight an example.
    """

    def __init__(self, a: int, b: int, style: int, kernel: int = 3, up: bool = False, demodulate: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(b, a, kernel, kernel))
        self.affine = Linear(style, a, bias=1.0)
        self.scale, self.up, self.demodulate = 1 / math.sqrt(a * kernel**2), up, demodulate

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        style, weight = self.affine(w), self.weight * self.scale
        x = x * style[:, :, None, None]
        if self.up:
            x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
            x = filtered(x, gain=4.0, pad=(1, 1, 1, 1))
        else:
            x = F.conv2d(x, weight, padding=weight.shape[2] // 2)
        if not self.demodulate:
            return x
        size = style.square() @ weight.square().sum((2, 3)).T
        return x * torch.rsqrt(size + 1e-8)[:, :, None, None]  # type: ignore[no-any-return]


class Styled(nn.Module):
    """A modulated convolution, noise of a learned strength, a bias and a leaky ReLU."""

    def __init__(self, a: int, b: int, style: int, up: bool) -> None:
        super().__init__()
        self.conv = Modulated(a, b, style, up=up)
        self.strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(b))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        x = self.conv(x, w)
        x = x + self.strength * noise.randn(len(x), 1, *x.shape[2:], device=x.device)
        return leaky(x + self.bias[:, None, None])


class ToRGB(nn.Module):
    """What a layer adds to the picture."""

    def __init__(self, a: int, channels: int, style: int) -> None:
        super().__init__()
        self.conv = Modulated(a, channels, style, kernel=1, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        out: Tensor = self.conv(x, w) + self.bias[:, None, None]
        return out


class Synthesis(nn.Module):
    """w (B, layers, style) -> (B, channels, side, side): a learned 4x4 start, doubled; each size adds to the picture (figure 7b)."""

    def __init__(self, widths: Sequence[int], channels: int, style: int) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.randn(widths[0], 4, 4))
        self.first = nn.ModuleList([Styled(a, b, style, up=True) for a, b in itertools.pairwise(widths)])
        self.second = nn.ModuleList([Styled(b, b, style, up=False) for b in widths])
        self.rgb = nn.ModuleList([ToRGB(b, channels, style) for b in widths])
        self.count = 2 * len(widths)  # of styles: one a convolution, and one for the last RGB

    def forward(self, w: Tensor) -> Tensor:
        x, image = self.start.expand(len(w), -1, -1, -1), None
        for k, (second, rgb) in enumerate(zip(self.second, self.rgb, strict=True)):
            if k:
                x = self.first[k - 1](x, w[:, 2 * k - 1])
            x = second(x, w[:, 2 * k])
            added = rgb(x, w[:, 2 * k + 1])
            image = added if image is None else doubled(image) + added
        assert isinstance(image, Tensor)
        return image


class Conv(nn.Module):
    """A convolution with scaled weights; halves the picture through the filter if `down`."""

    def __init__(self, a: int, b: int, kernel: int = 3, bias: bool = True, down: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(b, a, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(b)) if bias else None
        self.scale, self.down = 1 / math.sqrt(a * kernel**2), down

    def forward(self, x: Tensor) -> Tensor:
        weight, kernel = self.weight * self.scale, self.weight.shape[2]
        if not self.down:
            return F.conv2d(x, weight, self.bias, padding=kernel // 2)
        if kernel == 1:
            return F.conv2d(halved(x), weight, self.bias)
        return F.conv2d(filtered(x, pad=(2, 2, 2, 2)), weight, self.bias, stride=2)


class Halving(nn.Module):
    """(B, a, 2H, 2W) -> (B, b, H, W): two convolutions, and a short way round them (figure 7c)."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__()
        self.one, self.two, self.aside = Conv(a, a), Conv(a, b, down=True), Conv(a, b, kernel=1, bias=False, down=True)

    def forward(self, x: Tensor) -> Tensor:
        h = leaky(self.two(leaky(self.one(x))))
        out: Tensor = (h + self.aside(x)) / math.sqrt(2)
        return out


class Spread(nn.Module):
    """One more channel: the mean standard deviation over groups of examples, so that alikeness is seen (Karras et al. 2018, section 3)."""

    def __init__(self, group: int = 4) -> None:
        super().__init__()
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        group = math.gcd(self.group, n)  # neighbours, so that ranks group as one process would
        spread = (x.view(n // group, group, -1).var(1, correction=0) + 1e-8).sqrt().mean(1)
        return torch.cat([x, spread.repeat_interleave(group)[:, None, None, None].expand(-1, 1, h, w)], 1)


class Leaky(nn.Module):
    """leaky(x) as a module."""

    def forward(self, x: Tensor) -> Tensor:
        return leaky(x)


def critic(widths: Sequence[int], channels: int) -> list[nn.Module]:
    """(B, channels, side, side) -> (B, widths[0]) features; `widths` from 4x4 up, as in the synthesis."""
    halvings = [Halving(a, b) for a, b in itertools.pairwise(reversed(widths))]
    low = widths[0]
    return [
        Conv(channels, widths[-1], kernel=1),
        Leaky(),
        *halvings,
        Spread(),
        Conv(low + 1, low),
        Leaky(),
        nn.Flatten(),
        Linear(16 * low, low),
        Leaky(),
    ]
