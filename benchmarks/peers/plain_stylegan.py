"""StyleGAN2 as public PyTorch versions have it: a weight an example in one grouped convolution, filters as separate zero-stuffed passes."""

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def blur(x: Tensor, gain: float, pad: tuple[int, int]) -> Tensor:
    tap = torch.tensor([1.0, 3.0, 3.0, 1.0])
    kernel = torch.outer(tap, tap) / 64 * gain
    b, c, h, w = x.shape
    x = F.pad(x.reshape(b * c, 1, h, w), (pad[0], pad[1], pad[0], pad[1]))
    x = F.conv2d(x, kernel[None, None])
    return x.view(b, c, *x.shape[2:])


def upsample(x: Tensor) -> Tensor:
    b, c, h, w = x.shape
    spread = F.pad(x.view(b, c, h, 1, w, 1), (0, 1, 0, 0, 0, 1)).reshape(b, c, 2 * h, 2 * w)
    return blur(spread, 4.0, (2, 1))


class Equal(nn.Module):
    """A linear layer with the equalised learning rate."""

    def __init__(self, a: int, b: int, bias: float = 0.0, lr: float = 1.0) -> None:
        super().__init__()
        self.weight, self.bias, self.scale, self.lr = (
            nn.Parameter(torch.randn(b, a) / lr),
            nn.Parameter(torch.full((b,), bias)),
            lr / math.sqrt(a),
            lr,
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.scale, self.bias * self.lr)


class ModConv(nn.Module):
    def __init__(self, a: int, b: int, style: int, kernel: int = 3, up: bool = False, demodulate: bool = True) -> None:
        super().__init__()
        self.weight, self.affine = nn.Parameter(torch.randn(1, b, a, kernel, kernel)), Equal(style, a, bias=1.0)
        self.scale, self.up, self.demodulate = 1 / math.sqrt(a * kernel**2), up, demodulate

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        n, a, h, width = x.shape
        weight = self.scale * self.weight * self.affine(w).view(n, 1, a, 1, 1)
        if self.demodulate:
            weight = weight * torch.rsqrt(weight.square().sum((2, 3, 4), keepdim=True) + 1e-8)
        b, kernel = weight.shape[1], weight.shape[3]
        x = x.reshape(1, n * a, h, width)
        if self.up:
            stacked = weight.transpose(1, 2).reshape(n * a, b, kernel, kernel)
            x = F.conv_transpose2d(x, stacked, stride=2, groups=n)
            x = blur(x.view(n, b, *x.shape[2:]), 4.0, (1, 1))
        else:
            x = F.conv2d(x, weight.view(n * b, a, kernel, kernel), padding=kernel // 2, groups=n)
        return x.view(n, b, *x.shape[2:])


class Layer(nn.Module):
    def __init__(self, a: int, b: int, style: int, up: bool = False) -> None:
        super().__init__()
        self.conv, self.strength, self.bias = ModConv(a, b, style, up=up), nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(b))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        x = self.conv(x, w)
        x = x + self.strength * torch.randn(len(x), 1, *x.shape[2:])
        return F.leaky_relu(x + self.bias.view(1, -1, 1, 1), 0.2) * math.sqrt(2)


class Generator(nn.Module):
    """(B, latent) -> (B, channels, side, side); `widths` from 4x4 up."""

    def __init__(self, latent: int, style: int, mapping: int, widths: list[int], channels: int) -> None:
        super().__init__()
        self.mapping = nn.ModuleList([Equal(latent if k == 0 else style, style, lr=0.01) for k in range(mapping)])
        self.start = nn.Parameter(torch.randn(1, widths[0], 4, 4))
        self.first = nn.ModuleList([Layer(a, b, style, up=True) for a, b in itertools.pairwise(widths)])
        self.second = nn.ModuleList([Layer(b, b, style) for b in widths])
        self.rgb = nn.ModuleList([ModConv(b, channels, style, kernel=1, demodulate=False) for b in widths])

    def styles(self, z: Tensor) -> Tensor:
        x = z * torch.rsqrt(z.square().mean(1, keepdim=True) + 1e-8)
        for layer in self.mapping:
            x = F.leaky_relu(layer(x), 0.2) * math.sqrt(2)
        return x

    def forward(self, w: list[Tensor]) -> Tensor:
        x, image = self.start.repeat(len(w[0]), 1, 1, 1), None
        for k, (second, rgb) in enumerate(zip(self.second, self.rgb, strict=True)):
            if k:
                x = self.first[k - 1](x, w[2 * k - 1])
            x = second(x, w[2 * k])
            added = rgb(x, w[2 * k + 1])
            image = added if image is None else upsample(image) + added
        assert image is not None
        return image

    def mixed(self, n: int, latent: int) -> list[Tensor]:
        """Two styles from a random layer on."""
        count, one, two = 2 * len(self.rgb), self.styles(torch.randn(n, latent)), self.styles(torch.randn(n, latent))
        cut = int(torch.randint(1, count, ()))
        return [one] * cut + [two] * (count - cut)


class Block(nn.Module):
    def __init__(self, a: int, b: int) -> None:
        super().__init__()
        self.one, self.two, self.skip = (
            nn.Conv2d(a, a, 3, padding=1),
            nn.Conv2d(a, b, 3, stride=2),
            nn.Conv2d(a, b, 1, stride=2, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        h = F.leaky_relu(self.one(x), 0.2) * math.sqrt(2)
        h = F.leaky_relu(self.two(blur(h, 1.0, (2, 2))), 0.2) * math.sqrt(2)
        return (h + self.skip(blur(x, 1.0, (1, 1)))) / math.sqrt(2)


class Critic(nn.Module):
    def __init__(self, widths: list[int], channels: int) -> None:
        super().__init__()
        low = widths[0]
        self.first = nn.Conv2d(channels, widths[-1], 1)
        self.blocks = nn.Sequential(*(Block(a, b) for a, b in itertools.pairwise(reversed(widths))))
        self.last = nn.Conv2d(low + 1, low, 3, padding=1)
        self.head = nn.Sequential(Equal(16 * low, low), nn.LeakyReLU(0.2), Equal(low, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(F.leaky_relu(self.first(x), 0.2))
        _, c, h, w = x.shape
        spread = (x.view(4, -1, c, h, w).var(0, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3), keepdim=True)
        x = torch.cat([x, spread.repeat(4, 1, h, w)], 1)
        return self.head(F.leaky_relu(self.last(x), 0.2).flatten(1))


class Trainer:
    """The non-saturating game, R1 every 16 steps and path length every 4."""

    def __init__(self, latent: int, style: int, mapping: int, widths: list[int], channels: int, r1: float, path: float, lr: float) -> None:
        self.latent, self.r1, self.path, self.mean = latent, r1, path, torch.zeros(())
        self.g, self.d = Generator(latent, style, mapping, widths, channels), Critic(widths, channels)
        self.adams = [torch.optim.Adam(net.parameters(), lr=lr, betas=(0.0, 0.99)) for net in (self.d, self.g)]

    def turn(self, which: int, loss: Tensor) -> None:
        self.adams[which].zero_grad()
        loss.backward()
        self.adams[which].step()

    def step(self, i: int, real: Tensor) -> None:
        n = len(real)
        self.g.requires_grad_(False)
        self.d.requires_grad_(True)
        fake = self.g(self.g.mixed(n, self.latent))
        self.turn(0, F.softplus(self.d(fake)).mean() + F.softplus(-self.d(real)).mean())
        if self.r1 and i % 16 == 0:
            real = real.clone().requires_grad_()
            (slope,) = torch.autograd.grad(self.d(real).sum(), real, create_graph=True)
            self.turn(0, self.r1 / 2 * slope.square().sum((1, 2, 3)).mean() * 16)
        self.g.requires_grad_(True)
        self.d.requires_grad_(False)
        self.turn(1, F.softplus(-self.d(self.g(self.g.mixed(n, self.latent)))).mean())
        if self.path and i % 4 == 0:
            styles = self.g.mixed(n // 2, self.latent)
            image = self.g(styles)
            y = torch.randn_like(image) / math.sqrt(image.shape[2] * image.shape[3])
            slopes = torch.autograd.grad((image * y).sum(), styles[:1] + styles[-1:], create_graph=True)
            length = torch.stack([s.square().sum(1) for s in slopes]).mean(0).sqrt()
            self.mean = self.mean + 0.01 * (length.mean().detach() - self.mean)
            self.turn(1, self.path * 4 * (length - self.mean).square().mean())
