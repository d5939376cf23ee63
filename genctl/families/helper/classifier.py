"""A small classifier of images or rows: tells what stands beside x; its features measure samples.

Plain convolutions with batch normalisation, or what a generative model makes of x, trained on (Hinton and Salakhutdinov 2006,
https://doi.org/10.1126/science.1127647). `features` and `texture` are what `fd_classifier` compares.
"""

import math

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from genctl.config import Settings
from genctl.contract import Batch, Loss, Model, Part, Progress, Spec
from genctl.errors import GenctlError
from genctl.nets.conv import pyramid
from genctl.nets.mlp import mlp
from genctl.nets.norm import BatchNorm
from genctl.powers import Encode


class Classifier(Model):
    """p(target | x)."""

    kinds = frozenset({"vector", "image"})

    class Config(Settings):
        target: str = "label"
        """What to predict: the name of something that stands beside x."""
        body: Part | None = None
        """A model with codes (dbn, dbm, vae, ...) in place of layers of its own, trained on; {path: CKPT} takes one that is trained."""
        width: int = Field(16, ge=1, le=1024)
        """Channels of the first layer, doubled at each halving of the picture (down to 4 pixels)."""
        features: int = Field(64, ge=1, le=4096)
        """Units of the last hidden layer."""
        dropout: float = Field(0.1, ge=0, lt=1)
        """Before the last layer."""

    def __init__(self, config: Config, spec: Spec) -> None:
        super().__init__(config, spec)
        self.target = config.target
        wanted = spec.given.get(config.target)
        if wanted is None or len(wanted.shape) > 1 or not wanted.vocab:
            raise GenctlError(
                "config", f"model.target: this data has no class '{config.target}' beside x", "one of: " + ", ".join(spec.given)
            )
        features = config.features
        if config.body:
            self.trunk: nn.Module = Codes(config.body, spec)
            features = self.trunk.size
        elif spec.kind == "image":
            self.trunk = _convolutions(spec.shape, config.width, config.features)
        else:
            self.trunk = nn.Sequential(nn.Flatten(), mlp([spec.size, 8 * config.width, config.features], "relu"))
        self.said = (*wanted.shape, wanted.vocab)
        self.head = nn.Linear(features, math.prod(self.said))

    def features(self, x: Tensor) -> Tensor:
        """What the last layer sees: (B, D)."""
        out: Tensor = self.trunk(x)
        return out if self.config.body else F.relu(out)

    def texture(self, x: Tensor) -> Tensor:
        """The first layer's channels averaged over the picture (B, C); rows and bodies have none (B, 0). It sees the noise that `features` learn to ignore."""
        if self.spec.kind != "image" or self.config.body:
            return x.new_zeros(len(x), 0)
        out: Tensor = self.trunk[:3](x).mean((2, 3))  # type: ignore[index]
        return out

    def predict(self, batch: Batch) -> Tensor:
        """Logits (B, classes), or (B, labels, classes) of several labels."""
        h = F.dropout(self.features(batch.x), self.config.dropout, self.training)
        return self.head(h).unflatten(1, self.said)  # type: ignore[no-any-return]

    def loss(self, batch: Batch, at: Progress) -> Loss:
        """Cross-entropy in nats a label."""
        logits, y = self.predict(batch), batch.given[self.target]
        return Loss(F.cross_entropy(logits.flatten(0, -2), y.flatten()), accuracy=(logits.argmax(-1) == y).float().mean())


class Codes(nn.Module):
    """x (B, *shape) -> (B, size): the codes of a model. What they do not depend on is not trained. Raises GenctlError (config)."""

    def __init__(self, part: Part, spec: Spec) -> None:
        super().__init__()
        body = part.build(spec)
        fits = isinstance(body, Encode) and not body.code.vocab and not body.conditions and body.spec.shape == spec.shape
        code = body.encode(Batch(x=torch.zeros(2, *spec.shape))) if isinstance(body, Encode) and fits else torch.zeros(0)
        if not code.requires_grad:
            what = f"model.body: family '{part.family}' has no codes of {list(spec.shape)} that a classifier can train"
            raise GenctlError("config", what, "dbn, dbm, ae, vae, ... of the same data, without labels of its own")
        self.body, self.size = body, code[0].numel()
        params = list(body.parameters())
        for p, g in zip(params, torch.autograd.grad(code.sum(), params, allow_unused=True), strict=True):
            p.requires_grad_(g is not None)

    def forward(self, x: Tensor) -> Tensor:
        return self.body.encode(Batch(x=x)).flatten(1)


def _convolutions(shape: tuple[int, ...], width: int, features: int) -> nn.Module:
    """A strided 3x3 convolution for each halving, until the picture has 4 pixels or less."""
    steps = 1
    while max(pyramid(shape[1], shape[2], steps)[-1]) > 4:
        steps += 1
    widths = [min(width * 2**k, 256) for k in range(steps)]
    layers: list[nn.Module] = []
    for a, b in zip([shape[0], *widths], widths, strict=False):
        layers += [nn.Conv2d(a, b, 3, stride=2, padding=1, bias=False), BatchNorm(b), nn.ReLU()]
        layers += [nn.Conv2d(b, b, 3, padding=1, bias=False), BatchNorm(b), nn.ReLU()]
    h, w = pyramid(shape[1], shape[2], steps)[-1]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(widths[-1] * h * w, features))
