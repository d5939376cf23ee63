"""The DCGAN that tutorials teach: three backward passes a step, one graph of the drawn pictures for both players."""

import itertools

import torch
from torch import nn


def generator(latent: int, width: int) -> nn.Sequential:
    """(B, latent, 1, 1) -> (B, 3, 64, 64)."""
    widths = [8 * width, 4 * width, 2 * width, width]
    layers: list[nn.Module] = [nn.ConvTranspose2d(latent, widths[0], 4, 1, 0, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU(True)]
    for a, b in itertools.pairwise(widths):
        layers += [nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU(True)]
    return nn.Sequential(*layers, nn.ConvTranspose2d(width, 3, 4, 2, 1, bias=False), nn.Tanh())


def critic(width: int) -> nn.Sequential:
    """(B, 3, 64, 64) -> (B, 1, 1, 1) probabilities."""
    layers: list[nn.Module] = [nn.Conv2d(3, width, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, True)]
    for k in range(3):
        layers += [
            nn.Conv2d(width * 2**k, width * 2 ** (k + 1), 4, 2, 1, bias=False),
            nn.BatchNorm2d(width * 2 ** (k + 1)),
            nn.LeakyReLU(0.2, True),
        ]
    return nn.Sequential(*layers, nn.Conv2d(8 * width, 1, 4, 1, 0, bias=False), nn.Sigmoid())


class Trainer:
    """Adam for both, binary cross-entropy of probabilities."""

    def __init__(self, latent: int, width: int, lr: float) -> None:
        self.latent = latent
        self.g, self.d = generator(latent, width), critic(width)
        for m in [*self.g.modules(), *self.d.modules()]:
            if isinstance(m, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.normal_(m.weight, 0.0, 0.02)
        self.adams = [torch.optim.Adam(net.parameters(), lr=lr, betas=(0.5, 0.999)) for net in (self.d, self.g)]
        self.bce = nn.BCELoss()

    def step(self, real: torch.Tensor) -> None:
        ones, zeros = torch.ones(len(real)), torch.zeros(len(real))
        self.d.zero_grad()
        self.bce(self.d(real).view(-1), ones).backward()
        fake = self.g(torch.randn(len(real), self.latent, 1, 1))
        self.bce(self.d(fake.detach()).view(-1), zeros).backward()
        self.adams[0].step()
        self.g.zero_grad()
        self.bce(self.d(fake).view(-1), ones).backward()
        self.adams[1].step()
