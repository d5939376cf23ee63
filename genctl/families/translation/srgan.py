"""SRGAN: pictures restored, enlarged or freed of noise: first close to the original pixel by pixel (SRResNet), then real to a critic.

Ledig et al. 2017, https://arxiv.org/abs/1609.04802. It learns from pairs such as data `spoiled` makes.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from genctl import contract
from genctl.config import Settings
from genctl.contract import Batch, Family, Given, Loss, Player, Progress, Spec, Stage
from genctl.errors import GenctlError
from genctl.families.adversarial._game import PayOff
from genctl.maths import adversarial, filters
from genctl.nets.translation import Judge, SRResNet
from genctl.nets.vgg import VGG

SEEN = "conv5_4"  # the layer whose features are compared: VGG54 of the paper


class SRGAN(Family):
    """x = enlarged source + G(source); D judges x. The size of x over that of its source is the scale, which may be 1."""

    kinds = frozenset({"image"})

    class Config(Settings):
        width: int = Field(64, ge=1, le=1024)
        """Channels of G."""
        blocks: int = Field(16, ge=1, le=128)
        """Its residual blocks."""
        norm: bool = False
        """Batch normalisation in them, as the paper has it; pictures come out truer without."""
        once: bool = False
        """One shuffle makes the picture from features of the source's size; false: they are doubled step by step, as in the paper."""
        enlarged: bool = True
        """G adds to a bicubic enlargement of the source (Kim et al. 2016, https://arxiv.org/abs/1511.04587); false: it draws all."""
        distance: Literal["l1", "l2"] = "l1"
        """What keeps x close to the original: the mean absolute or squared difference."""
        pixels: float = Field(1.0, gt=0, le=1)
        """The share of training by that distance alone; the game is played in the rest. 1: SRResNet."""
        adversarial: float = Field(1e-3, ge=0, le=1000)
        """Weight of the game beside it (eq. 3)."""
        loss: PayOff = "non-saturating"
        """The game's pay-off."""
        critic: int = Field(64, ge=1, le=512)
        """Channels of the finest layer of D, doubled at each of four halvings."""
        features: float = Field(0.0, ge=0, le=1000)
        """In the game, weight of the squared difference of VGG-19's features (eq. 5)."""
        weights: str = ""
        """The file of VGG-19's weights, in safetensors; read when the game begins."""

    def __init__(self, config: Config, spec: Spec) -> None:
        super().__init__(config, spec)
        source = spec.given.get("source")
        sizes = (
            {divmod(a, b) for a, b in zip(spec.shape[1:], source.shape[1:], strict=True)} if source and source.kind == "image" else set()
        )
        if source is None or len(sizes) != 1 or (found := sizes.pop())[1] or not found[0]:
            raise GenctlError(
                "config", "srgan needs pairs: a picture 'source' beside each, so many times smaller", "data: {name: spoiled, ...}"
            )
        if config.features and not config.weights:
            raise GenctlError("config", "model.features compares by VGG-19, whose weights are not given", "model.weights=vgg19.safetensors")
        self.scale = found[0]
        self.conditions = ("source",)
        self.generator = SRResNet(source.shape[0], spec.shape[0], config.width, config.blocks, self.scale, config.norm, config.once)
        playing = config.pixels < 1
        self.critic = Judge(spec.shape[0], config.critic, 4, config.loss not in adversarial.SHIFTLESS) if playing else None
        self.vgg = VGG(SEEN) if playing and config.features else None

    def draw(self, source: Tensor) -> Tensor:
        """(B, C, H, W), about [0, 1]."""
        x: Tensor = self.generator(source - 0.5)
        if not self.config.enlarged:
            return x + 0.5
        return x + (filters.bicubic(source, self.scale) if self.scale > 1 else source)

    def judge(self, x: Tensor) -> Tensor:
        """Logits (B,)."""
        assert self.critic is not None
        out: Tensor = self.critic(2 * x - 1)[:, 0]
        return out

    # --- training ---

    def loss(self, batch: Batch, at: Progress) -> Loss:
        """The distance to the original: what the first stage descends and validation follows."""
        return self.apart(self.draw(batch.given["source"]), batch.x)

    def apart(self, x: Tensor, original: Tensor) -> Loss:
        difference = x - original
        squared = difference.square().mean()
        total = squared if self.config.distance == "l2" else difference.abs().mean()
        return Loss(total, psnr_db=-10 * squared.detach().clamp(min=1e-10).log10())

    def critic_loss(self, batch: Batch, at: Progress) -> Loss:
        with torch.no_grad():
            fake = self.draw(batch.given["source"])
        real_logits, fake_logits = self.judge(batch.x), self.judge(fake)
        return Loss(
            adversarial.CRITIC[self.config.loss](real_logits, fake_logits),
            told_apart=(real_logits > fake_logits).float().mean(),
        )

    def generator_loss(self, batch: Batch, at: Progress) -> Loss:
        c = self.config
        x = self.draw(batch.given["source"])
        apart = self.apart(x, batch.x)
        with torch.no_grad():
            real = self.judge(batch.x) if c.loss in adversarial.PAIRED else x.new_zeros(())
        game = adversarial.GENERATOR[c.loss](real, self.judge(x))
        total = apart.total + c.adversarial * game
        if self.vgg is None:
            return Loss(total, game=game, **apart.parts)
        seen, known = (self.vgg(t, frozenset({SEEN}))[SEEN] for t in (x, batch.x))
        features = (seen - known).square().mean()
        return Loss(total + c.features * features, game=game, features=features, **apart.parts)

    def enter(self) -> None:
        if self.vgg is not None:
            self.vgg.read(self.config.weights)

    def stages(self) -> list[Stage]:
        params, share = list(self.generator.parameters()), self.config.pixels
        stages = [Stage(name="pixels", players=[Player(name="generator", params=params, loss=self.loss)], share=share)]
        if self.critic is not None:
            critic = Player(name="critic", params=list(self.critic.parameters()), loss=self.critic_loss)
            generator = Player(name="generator", params=params, loss=self.generator_loss)
            stages.append(Stage(name="game", players=[critic, generator], share=1 - share, enter=self.enter))
        return stages

    def sample(self, n: int, draw: contract.Draw, given: Given | None = None) -> Tensor:
        """Each source restored, (n, C, H * scale, W * scale), for sources of any height and width."""
        return self.draw((given or {})["source"]).clamp(0, 1)
