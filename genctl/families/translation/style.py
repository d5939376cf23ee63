"""Neural style transfer: what one picture shows, painted in the manner of another; by optimising the picture, or by a network in one pass.

Gatys, Ecker and Bethge 2016, https://doi.org/10.1109/CVPR.2016.265; in one pass: Johnson et al. 2016, https://arxiv.org/abs/1603.08155.
Data: x is the style, one picture or many; `other` beside it what is to be painted (data `unpaired`).
"""

from typing import Literal, get_args

import torch
from pydantic import Field
from torch import Tensor

from genctl import contract
from genctl.config import Settings
from genctl.contract import Batch, Family, Given, Loss, Player, Progress, Spec, Stage
from genctl.errors import GenctlError
from genctl.maths import ranks
from genctl.nets.translation import ResNet
from genctl.nets.vgg import NAMES, VGG, WIDTH

Painted = Literal["conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1"]


class Style(Family):
    """The style is the correlations of features over places, the content the features themselves. Grams are means over pictures of x."""

    kinds = frozenset({"image"})

    class Config(Settings):
        way: Literal["optimise", "network"] = "optimise"
        """How a picture is painted: the pixels themselves descend the loss when it is asked for, or a network does it in one pass."""
        weights: str = ""
        """The file of VGG-19's weights, in safetensors, read when training begins; empty: random filters."""
        random_width: int = Field(16, ge=1, le=128)
        """Channels of the first block of random filters."""
        content_layer: Literal["conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv4_2", "conv5_1"] = "conv4_2"
        """Whose features are the content."""
        style_layers: list[Painted] = Field(default_factory=lambda: list(get_args(Painted)))
        """Whose correlations are the style."""
        style: float = Field(1.0, ge=0, le=1_000_000)
        """Weight of the style against the content, each relative to its own size."""
        smooth: float = Field(0.0, ge=0, le=1_000_000)
        """Weight of the mean squared difference of neighbours."""
        look: float = Field(0.02, gt=0, lt=1)
        """The share of training in which the style is looked at."""
        width: int = Field(32, ge=1, le=512)
        """Channels of the finest layer of the network."""
        blocks: int = Field(5, ge=1, le=64)
        """Its residual blocks."""

    class Draw(contract.Draw):
        chunk: int = Field(1, ge=1, le=65_536)
        """Samples computed at once. Sample i depends on the seed, i and this number alone, never on how many are asked for."""
        steps: int = Field(300, ge=1, le=100_000)
        """Steps of the optimised picture."""
        rate: float = Field(0.02, gt=0, le=1)
        """Its learning rate at first, where white is 1; it falls to nothing."""

    def __init__(self, config: Config, spec: Spec) -> None:
        super().__init__(config, spec)
        other = spec.given.get("other")
        if other is None or other.kind != "image":
            raise GenctlError("config", "style needs a picture 'other' beside each: what is to be painted", "data: {name: unpaired, ...}")
        if not config.style_layers:
            raise GenctlError("config", "model.style_layers: name one at least")
        self.conditions = ("other",)
        layers = frozenset({config.content_layer, *config.style_layers})
        self.layers, self.width = layers, WIDTH if config.weights else config.random_width
        self.vgg = VGG(max(layers, key=NAMES.index), self.width)
        for name in config.style_layers:
            c = self.width * min(2 ** (int(name[4]) - 1), 8)
            self.register_buffer(f"gram_{name}", torch.zeros(c, c))
        self.register_buffer("seen", torch.zeros(()))
        self.painter = ResNet(other.shape[0], spec.shape[0], config.width, config.blocks) if config.way == "network" else None

    # --- the style ---

    def look(self, batch: Batch, at: Progress) -> Loss:
        """Grams move towards their mean over all pictures so far. The loss is how far those of the batch are from it."""
        with torch.no_grad():
            found = self.vgg(batch.x, self.layers)
            grams = {name: gram(found[name]) for name in self.config.style_layers}
            if self.training:
                self.seen += 1
                n = ranks.total(batch.x.new_tensor(float(len(batch))))
                for name, own in grams.items():
                    self.known(name).lerp_(ranks.total(own.sum(0)) / n, 1 / self.seen)
            return Loss(self.unlike(grams).mean())

    def known(self, name: str) -> Tensor:
        found: Tensor = getattr(self, f"gram_{name}")
        return found

    # --- the loss ---

    def cost(self, x: Tensor, content: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B,) each: how far the content, how far the style, and how rough. The first two are shares of what they are compared with."""
        c = self.config
        found, wanted = self.vgg(x, self.layers), self.vgg(content, frozenset({c.content_layer}))[c.content_layer]
        told = relative(found[c.content_layer], wanted)
        style = self.unlike({name: gram(found[name]) for name in c.style_layers})
        rough = (
            (x.diff(dim=2).square().flatten(1).mean(1) + x.diff(dim=3).square().flatten(1).mean(1)) if c.smooth else torch.zeros_like(told)
        )
        return told, style, rough

    def unlike(self, grams: dict[str, Tensor]) -> Tensor:
        """(B,) how far Grams are from the style, as a share of its size, the mean over layers."""
        return torch.stack([relative(own, self.known(name).expand_as(own)) for name, own in grams.items()]).mean(0)

    def loss(self, batch: Batch, at: Progress) -> Loss:
        """What the network is paid for; without one, how far x is from the style."""
        if self.painter is None:
            return self.look(batch, at)
        content = batch.given["other"]
        told, style, rough = (part.mean() for part in self.cost(self.paint(content), content))
        return Loss(told + self.config.style * style + self.config.smooth * rough, content=told, style=style)

    def paint(self, content: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1], of any height and width, in one pass."""
        assert self.painter is not None
        return torch.sigmoid(self.painter(2 * content - 1))

    def optimise(self, content: Tensor, draw: Draw) -> Tensor:
        """Pictures that begin as the content and descend the loss by Adam; each by itself."""
        x = content.expand(-1, self.spec.shape[0], -1, -1).clone().requires_grad_()
        optimizer = torch.optim.Adam([x], lr=draw.rate)
        with torch.enable_grad():
            for step in range(draw.steps):
                optimizer.param_groups[0]["lr"] = draw.rate * (1 - step / draw.steps)
                told, style, rough = self.cost(x, content)
                optimizer.zero_grad()
                (told + self.config.style * style + self.config.smooth * rough).sum().backward()
                optimizer.step()
                x.data.clamp_(0, 1)
        return x.detach()

    # --- the contract ---

    def enter(self) -> None:
        if self.config.weights:
            self.vgg.read(self.config.weights)

    def stages(self) -> list[Stage]:
        look = Stage(name="look", players=[Player(name="style", params=[], loss=self.look)], share=self.config.look, enter=self.enter)
        if self.painter is None:
            return [look]
        painter = Player(name="painter", params=list(self.painter.parameters()), loss=self.loss)
        return [look, Stage(name="paint", players=[painter], share=1 - self.config.look)]

    def sample(self, n: int, draw: Draw, given: Given | None = None) -> Tensor:
        """Each `other` in the style, (n, C, H, W), of any height and width."""
        content = (given or {})["other"]
        return self.optimise(content, draw) if self.painter is None else self.paint(content)


def gram(features: Tensor) -> Tensor:
    """(B, C, C): the correlations of channels over the places of (B, C, H, W), by their number (eq. 3)."""
    flat = features.flatten(2)
    return flat @ flat.transpose(1, 2) / flat.shape[2]


def relative(x: Tensor, wanted: Tensor) -> Tensor:
    """(B,) the squared distance as a share of the squared length of what is wanted: one weight then serves every layer and network."""
    return (x - wanted).square().flatten(1).sum(1) / wanted.square().flatten(1).sum(1).clamp(min=1e-12)
