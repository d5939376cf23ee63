"""GAN: two plain networks, one that forges and one that judges, of rows of numbers or of small pictures pixel by pixel.

Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661.
"""

from pydantic import Field
from torch import Tensor, nn

from genctl.contract import Spec
from genctl.families.adversarial._game import Game, GameConfig
from genctl.nets.mlp import Width, mlp, waves


class Waves(nn.Module):
    """(B, ...) -> (B, D (1 + 2 octaves))."""

    def __init__(self, octaves: int) -> None:
        super().__init__()
        self.octaves = octaves

    def forward(self, x: Tensor) -> Tensor:
        return waves(x.flatten(1), self.octaves)


class GAN(Game):
    """G and D are multi-layer perceptrons."""

    kinds = frozenset({"vector", "image", "video", "signal"})

    class Config(GameConfig):
        hidden: list[Width] = Field(default_factory=lambda: [128, 128, 128], min_length=1, max_length=16)
        """Widths of the hidden layers of each of the two."""
        waves: int = Field(0, ge=0, le=16)
        """The critic reads numbers beside their sines and cosines at so many octaves: for rows of few numbers with fine structure."""
        norm: bool = False
        """Batch normalisation in the generator."""

    def __init__(self, config: Config, spec: Spec) -> None:
        super().__init__(config, spec)
        forge = mlp([self.wide, *config.hidden, spec.size], "relu", norm=config.norm)
        self.generator = nn.Sequential(forge, nn.Unflatten(1, spec.shape))
        seen = spec.size * (1 + 2 * config.waves)
        self.critic = nn.Sequential(Waves(config.waves), mlp([seen, *config.hidden], "silu", last=True), self.verdict(config.hidden[-1]))
        self.ready()
