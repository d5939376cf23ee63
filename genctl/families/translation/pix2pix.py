"""pix2pix: from a picture to its counterpart, learned from pairs: close to it pixel by pixel, and real to a critic of patches.

Isola et al. 2017, https://arxiv.org/abs/1611.07004.
"""

import torch
from pydantic import Field
from torch import Tensor

from genctl import contract
from genctl.config import Settings
from genctl.contract import Batch, Family, Given, Loss, Player, Progress, Spec, Stage
from genctl.errors import GenctlError
from genctl.families.adversarial._game import PayOff
from genctl.maths import adversarial
from genctl.nets.translation import Patches, UNet


class Pix2Pix(Family):
    """x = G(source, dropout); D judges patches of (source, x)."""

    kinds = frozenset({"image"})

    class Config(Settings):
        width: int = Field(64, ge=1, le=512)
        """Channels of the finest layer, doubled at each halving up to eight times that."""
        depth: int = Field(0, ge=0, le=10)
        """Halvings of the picture in G; 0: until two pixels are left of its shorter side."""
        dropout: float = Field(0.5, ge=0, lt=1)
        """In the deepest half of the way up."""
        patch: int = Field(2, ge=1, le=6)
        """Halvings in D: 3 judges patches of 70 pixels, 2 of 34, 1 of 16."""
        loss: PayOff = "non-saturating"
        """The game's pay-off."""
        l1: float = Field(100.0, ge=0, le=100_000)
        """Weight lambda of the mean distance to the counterpart beside it (eq. 4)."""
        adversarial: float = Field(1.0, ge=0, le=1000)
        """Weight of the game itself; 0 trains on the distance alone."""

    def __init__(self, config: Config, spec: Spec) -> None:
        super().__init__(config, spec)
        source = spec.given.get("source")
        if source is None or source.kind != "image" or source.shape[1:] != spec.shape[1:]:
            raise GenctlError("config", "pix2pix needs pairs: a picture 'source' of the same size beside each", "data: {name: pairs, ...}")
        self.conditions = ("source",)
        depth = config.depth or max(2, min(spec.shape[1:]).bit_length() - 2)
        self.generator = UNet(source.shape[0], spec.shape[0], config.width, depth, config.dropout)
        bias = config.loss not in adversarial.SHIFTLESS
        self.critic = Patches(source.shape[0] + spec.shape[0], config.width, config.patch, bias) if config.adversarial else None

    def draw(self, source: Tensor, drop: bool = True) -> Tensor:
        """(B, C, H, W) in [0, 1], of any height and width."""
        return torch.sigmoid(self.generator(2 * source - 1, drop))

    def judge(self, x: Tensor, source: Tensor) -> Tensor:
        """Logits (B, H', W')."""
        assert self.critic is not None
        out: Tensor = self.critic(torch.cat([2 * x - 1, 2 * source - 1], 1))
        return out

    # --- the game ---

    def loss(self, batch: Batch, at: Progress) -> Loss:
        """The mean distance to the counterpart, without dropout: what validation follows."""
        return Loss((self.draw(batch.given["source"], drop=False) - batch.x).abs().mean())

    def critic_loss(self, batch: Batch, at: Progress) -> Loss:
        source = batch.given["source"]
        with torch.no_grad():
            fake = self.draw(source)
        real_logits, fake_logits = self.judge(batch.x, source), self.judge(fake, source)
        return Loss(
            adversarial.CRITIC[self.config.loss](real_logits, fake_logits) / 2,  # section 3.3: D learns at half the pace
            told_apart=(real_logits.mean((1, 2)) > fake_logits.mean((1, 2))).float().mean(),
        )

    def generator_loss(self, batch: Batch, at: Progress) -> Loss:
        c, source = self.config, batch.given["source"]
        x = self.draw(source)
        apart = (x - batch.x).abs().mean()
        if self.critic is None:
            return Loss(c.l1 * apart, l1=apart)
        with torch.no_grad():
            real = self.judge(batch.x, source) if c.loss in adversarial.PAIRED else x.new_zeros(())
        game = adversarial.GENERATOR[c.loss](real, self.judge(x, source))
        return Loss(c.adversarial * game + c.l1 * apart, game=game, l1=apart)

    def stages(self) -> list[Stage]:
        generator = Player(name="generator", params=list(self.generator.parameters()), loss=self.generator_loss)
        if self.critic is None:
            return [Stage(name="train", players=[generator])]
        return [
            Stage(name="game", players=[Player(name="critic", params=list(self.critic.parameters()), loss=self.critic_loss), generator])
        ]

    def sample(self, n: int, draw: contract.Draw, given: Given | None = None) -> Tensor:
        """The counterpart of each source, (n, C, H, W), of the sources' own height and width; for binary data the nearer of its two values."""
        x = self.draw((given or {})["source"])
        return (x > 0.5).float() if self.spec.levels == 2 else x
