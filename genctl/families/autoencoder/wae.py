"""Wasserstein autoencoder: a code each, held as a crowd to a Gaussian, by pairs of codes (MMD) or by a critic (adversarial autoencoder).

Tolstikhin et al. 2018, Wasserstein Auto-Encoders, https://arxiv.org/abs/1711.01558. `match: critic` is the adversarial autoencoder of
Makhzani et al. 2015, https://arxiv.org/abs/1511.05644.
"""

from typing import Literal

from pydantic import Field
from torch import Tensor

from genctl import contract
from genctl.contract import Batch, Family, Given, Loss, Player, Progress, Spec, Stage
from genctl.families.autoencoder._networks import NetworkConfig, Reconstruction, decoder, encoder
from genctl.maths import adversarial, noise, ranks
from genctl.maths.mmd import mmd2
from genctl.nets.mlp import Width, mlp


class WAE(Family):
    """decode(encode(x)) close to x, and encode(x) over all x close to N(0, I)."""

    kinds = frozenset({"vector", "image"})

    class Config(NetworkConfig):
        latent: int = Field(8, ge=1, le=4096)
        """Numbers of a code."""
        error: Literal["auto", "squared", "cross-entropy"] = "auto"
        """Between x and its reconstruction. auto: cross-entropy of pixels in [0, 1], squared otherwise."""
        match: Literal["mmd", "critic"] = "mmd"
        """How codes are held to the prior: by the kernel distance of all pairs, or by a critic that tells codes from draws of it."""
        weight: float = Field(10.0, ge=0, le=1e6)
        """Of that beside the error (lambda in eq. 4)."""
        critic: list[Width] = Field(default_factory=lambda: [256, 256], min_length=1, max_length=16)
        """Widths of the critic's hidden layers."""

    def __init__(self, config: Config, spec: Spec) -> None:
        super().__init__(config, spec)
        self.encoder, self.decoder = encoder(config, spec, config.latent), decoder(config, spec.shape, config.latent)
        self.critic = mlp([config.latent, *config.critic, 1]) if config.match == "critic" else None
        self.far = Reconstruction(config.error, spec)
        self.code = Spec(shape=(config.latent,))

    # --- the contract ---

    def loss(self, batch: Batch, at: Progress) -> Loss:
        """The error of a reconstruction, summed over x, and how far the codes are from the prior (eq. 4)."""
        z = self.encoder(batch.x)
        error = self.far.error(self.decoder(z), batch.x)
        if self.critic is not None:
            apart = adversarial.GENERATOR["non-saturating"](z, self.critic(z))
            return Loss(error + self.config.weight * apart, error=error, unconvincing=apart)
        apart = mmd2(z, self.prior(len(z)), ranks.gather if self.training else lambda t: t)
        return Loss(error + self.config.weight * apart, error=error, mmd2=apart)

    def critic_loss(self, batch: Batch, at: Progress) -> Loss:
        z = self.encoder(batch.x).detach()
        return Loss(adversarial.CRITIC["non-saturating"](self.critic(self.prior(len(z))), self.critic(z)))

    def stages(self) -> list[Stage]:
        own = Player(name="model", params=[*self.encoder.parameters(), *self.decoder.parameters()], loss=self.loss)
        if self.critic is None:
            return [Stage(name="train", players=[own])]
        return [Stage(name="train", players=[Player(name="critic", params=list(self.critic.parameters()), loss=self.critic_loss), own])]

    def sample(self, n: int, draw: contract.Draw, given: Given | None = None) -> Tensor:
        """decode(prior); for binary data its values are probabilities of 1."""
        x = self.decode(self.prior(n), given)
        return noise.bernoulli(x) if self.spec.levels == 2 else x

    # --- powers ---

    def prior(self, n: int, given: Given | None = None) -> Tensor:
        """z ~ N(0, I) (n, D)."""
        return noise.randn(n, self.config.latent, device=self.device)

    def encode(self, batch: Batch) -> Tensor:
        code: Tensor = self.encoder(batch.x)
        return code

    def decode(self, code: Tensor, given: Given | None = None) -> Tensor:
        return self.far.scaled(self.decoder(code))
