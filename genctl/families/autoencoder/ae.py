"""Autoencoder: x through a narrow code and back; a prior fitted to the codes afterwards makes it draw.

Hinton and Salakhutdinov 2006, https://doi.org/10.1126/science.1127647; denoising: Vincent et al. 2008,
https://doi.org/10.1145/1390156.1390294.
"""

from typing import Literal

from pydantic import Field
from torch import Tensor

from genctl.contract import Batch, Given, Loss, Part, Player, Progress, Spec
from genctl.families.autoencoder._coded import Coded, CodedConfig
from genctl.families.autoencoder._networks import NetworkConfig, Reconstruction, decoder, encoder
from genctl.maths import noise


class AE(Coded):
    """decode(encode(x)) close to x."""

    kinds = frozenset({"vector", "image"})

    class Config(NetworkConfig, CodedConfig):
        latent: int = Field(16, ge=1, le=4096)
        """Numbers of a code."""
        error: Literal["auto", "squared", "cross-entropy"] = "auto"
        """Between x and its reconstruction. auto: cross-entropy of pixels in [0, 1], squared otherwise."""
        noise: float = Field(0.0, ge=0, le=10)
        """Deviation of the Gaussian noise on what is encoded; the loss asks for the clean x."""
        prior: Part = Part(family="mixture", model={"components": 10, "covariance": "full"})
        """The family that learns the codes: `{family: ..., model: {...}}`."""

    def __init__(self, config: Config, spec: Spec) -> None:
        super().__init__(config, spec)
        self.encoder, self.decoder = encoder(config, spec, config.latent), decoder(config, spec.shape, config.latent)
        self.far = Reconstruction(config.error, spec)
        self.code = Spec(shape=(config.latent,))
        self.build_prior()

    def first(self) -> Player:
        return Player(name="codes", params=[*self.encoder.parameters(), *self.decoder.parameters()], loss=self.loss)

    def loss(self, batch: Batch, at: Progress) -> Loss:
        """The error of a reconstruction, summed over x."""
        x = batch.x
        if self.training and self.config.noise:
            x = x + self.config.noise * noise.randn(*x.shape, device=x.device)
        return Loss(self.far.error(self.decoder(self.encoder(x)), batch.x))

    def encode(self, batch: Batch) -> Tensor:
        code: Tensor = self.encoder(batch.x)
        return code

    def decode(self, code: Tensor, given: Given | None = None) -> Tensor:
        return self.far.scaled(self.decoder(code))
