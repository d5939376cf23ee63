"""Deep convolutional GAN: a generator learns to draw what a critic takes for real.

Radford, Metz and Chintala 2016, https://arxiv.org/abs/1511.06434. The game is that of Goodfellow et al. 2014,
https://arxiv.org/abs/1406.2661; the penalties R1 and R2 those of Mescheder et al. 2018, https://arxiv.org/abs/1801.04406; the
relativistic pairs that keep all modes with them: Huang et al. 2024, https://arxiv.org/abs/2501.05441.
"""

import itertools
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from genctl import contract
from genctl.config import Settings
from genctl.contract import Batch, Family, Given, Loss, Player, Progress, Spec, Stage
from genctl.errors import GenctlError
from genctl.maths import adversarial, noise
from genctl.nets.conv import Crop, normed, pyramid
from genctl.nets.mlp import mlp, waves


class DCGAN(Family):
    """x = G(z), z ~ N(0, I); the critic D tells x from data. Images by convolutions, rows of numbers by two MLPs."""

    kinds = frozenset({"vector", "image"})

    class Config(Settings):
        latent: int = Field(64, ge=1, le=4096)
        """Dimensions of z."""
        width: int = Field(64, ge=1, le=1024)
        """Channels of the finest layer, doubled at each halving of the picture; units of each layer for rows of numbers."""
        depth: int = Field(3, ge=1, le=16)
        """Hidden layers of the two MLPs (rows of numbers only); pictures are halved until they are 4 pixels or less."""
        waves: int = Field(2, ge=0, le=16)
        """The critic reads rows of numbers beside their sines and cosines at so many octaves."""
        norm: bool = True
        """Batch normalisation in the generator."""
        norm_critic: bool = True
        """Batch normalisation in the critic (all but its first layer); off it goes well with r1."""
        conditional: bool = False
        """Draw and judge given the class label."""
        loss: Literal["non-saturating", "hinge", "least-squares", "relativistic"] = "non-saturating"
        """The game's pay-off."""
        n_critic: int = Field(1, ge=1, le=100)
        """The critic's turns in a step."""
        r1: float = Field(0.0, ge=0, le=10_000)
        """Weight gamma of the penalty on the critic's gradient at real examples; 0: none."""
        r2: float = Field(0.0, ge=0, le=10_000)
        """The same at drawn examples."""
        r1_every: int = Field(1, ge=1, le=1000)
        """Steps between penalties, which are then so many times as heavy."""

    def __init__(self, config: Config, spec: Spec) -> None:
        super().__init__(config, spec)
        classes = self.classes = self.labelled(config.conditional)
        self.code = Spec(shape=(config.latent,))
        code = config.latent + classes
        if spec.kind == "image":
            if max(spec.shape[1:]) < 8:
                raise GenctlError("config", f"dcgan needs images of 8 pixels or more; these are {list(spec.shape)}")
            self.generator: nn.Module = _generator(spec.shape, code, config)
            self.critic: nn.Module = _critic(spec.shape, classes, config)
        else:
            hidden = [config.width] * config.depth
            self.generator = mlp([code, *hidden, spec.size], "relu")
            self.critic = nn.Sequential(
                mlp([spec.size * (1 + 2 * config.waves) + classes, *hidden], "silu", last=True), _verdict(config.width, config)
            )

    # --- the two halves ---

    def decode(self, code: Tensor, given: Given | None = None) -> Tensor:
        """G(z): (B, *shape) in the data's scale."""
        out: Tensor = self.generator(torch.cat([code, *self._label(given)], 1))
        return torch.sigmoid(out) if self.spec.levels else out

    def judge(self, x: Tensor, given: Given | None) -> Tensor:
        """D(x): logits (B,), large for real."""
        if self.spec.levels:
            x = 2 * x - 1
        if self.spec.kind == "image":
            planes = [c[:, :, None, None].expand(-1, -1, *x.shape[2:]) for c in self._label(given)]
            out: Tensor = self.critic(torch.cat([x, *planes], 1))
        else:
            out = self.critic(torch.cat([waves(x, self.config.waves), *self._label(given)], 1))
        return out.flatten()

    def _label(self, given: Given | None) -> list[Tensor]:
        return [F.one_hot(given["label"], self.classes).float()] if given and self.classes else []

    # --- the game ---

    def critic_loss(self, batch: Batch, at: Progress) -> Loss:
        with torch.no_grad():
            fake = self.decode(self.prior(len(batch)), batch.given)
        real_logits, fake_logits = self.judge(batch.x, batch.given), self.judge(fake, batch.given)
        total = game = adversarial.CRITIC[self.config.loss](real_logits, fake_logits)
        if at.step % self.config.r1_every == 0:
            for weight, x in ((self.config.r1, batch.x), (self.config.r2, fake)):
                if weight:
                    total = total + weight * self.config.r1_every * adversarial.slope(lambda x: self.judge(x, batch.given), x)
        return Loss(total, game=game, real_logit=real_logits.mean(), fake_logit=fake_logits.mean())

    def generator_loss(self, batch: Batch, at: Progress) -> Loss:
        fake = self.decode(self.prior(len(batch)), batch.given)
        paired = self.config.loss == "relativistic"
        real_logits = self.judge(batch.x, batch.given) if paired else fake.new_zeros(())
        return Loss(adversarial.GENERATOR[self.config.loss](real_logits, self.judge(fake, batch.given)))

    def stages(self) -> list[Stage]:
        critic = Player(name="critic", params=list(self.critic.parameters()), loss=self.critic_loss, repeat=self.config.n_critic)
        generator = Player(name="generator", params=list(self.generator.parameters()), loss=self.generator_loss)
        return [Stage(name="game", players=[critic, generator])]

    def sample(self, n: int, draw: contract.Draw, given: Given | None = None) -> Tensor:
        """G(z); for binary data its values are probabilities of 1."""
        x = self.decode(self.prior(n), given)
        return noise.bernoulli(x) if self.spec.levels == 2 else x

    # --- powers ---

    def prior(self, n: int, given: Given | None = None) -> Tensor:
        """z ~ N(0, I) (n, D)."""
        return noise.randn(n, self.config.latent, device=self.device)


# --- networks (section 3 of the paper: strided convolutions, batch-norm, ReLU in G, leaky ReLU in D) ---


def _sizes(shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """The sizes of the picture from full down to 4 pixels or less on its longer side."""
    steps = 1
    while max(pyramid(shape[1], shape[2], steps)[-1]) > 4:
        steps += 1
    return pyramid(shape[1], shape[2], steps)


def _generator(shape: tuple[int, ...], code: int, config: DCGAN.Config) -> nn.Module:
    sizes = _sizes(shape)
    widths = [config.width * 2**k for k in range(len(sizes) - 1)]
    h, w = sizes[-1]
    layers: list[nn.Module] = [nn.Linear(code, widths[-1] * h * w), nn.Unflatten(1, (widths[-1], h, w))]
    layers += [*normed(widths[-1], config.norm), nn.ReLU()]
    for k, (a, b) in enumerate(itertools.pairwise([*reversed(widths), shape[0]])):
        layers += [nn.ConvTranspose2d(a, b, 4, stride=2, padding=1), Crop(*sizes[-2 - k])]
        if k < len(widths) - 1:
            layers += [*normed(b, config.norm), nn.ReLU()]
    return _init(nn.Sequential(*layers)) if config.norm else nn.Sequential(*layers)


def _critic(shape: tuple[int, ...], classes: int, config: DCGAN.Config) -> nn.Module:
    sizes = _sizes(shape)
    widths = [config.width * 2**k for k in range(len(sizes) - 1)]
    layers: list[nn.Module] = []
    for k, (a, b) in enumerate(itertools.pairwise([shape[0] + classes, *widths])):
        layers += [nn.Conv2d(a, b, 3 + (sizes[k][0] % 2 == 0 and sizes[k][1] % 2 == 0), stride=2, padding=1)]
        layers += [*normed(b, config.norm_critic and k > 0), nn.LeakyReLU(0.2)]
    h, w = sizes[-1]
    layers += [nn.Flatten(), _verdict(widths[-1] * h * w, config)]
    return _init(nn.Sequential(*layers)) if config.norm_critic else nn.Sequential(*layers)


def _verdict(size: int, config: DCGAN.Config) -> nn.Linear:
    """The critic's last layer; where only differences of logits count it has no bias."""
    return nn.Linear(size, 1, bias=config.loss != "relativistic")


def _init(net: nn.Module) -> nn.Module:
    """Weights of standard deviation 0.02 (section 4): batch-norm makes up for it; without it torch's own start is better."""
    for m in net.modules():
        if isinstance(m, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(m.weight, std=0.02)
    return net
