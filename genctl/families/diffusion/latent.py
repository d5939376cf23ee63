"""Latent diffusion: an autoencoder makes pictures small, and diffusion draws the small ones, given a class or a text.

Rombach et al. 2022, https://arxiv.org/abs/2112.10752: the row of Stable Diffusion, with a first stage of convolutions.
"""

from pydantic import Field
from torch import Tensor

from genctl.contract import Batch, Given, Loss, Part, Player, Progress, Spec
from genctl.errors import GenctlError
from genctl.families.autoencoder._gridded import Gridded, GriddedConfig
from genctl.families.diffusion import _diffusion
from genctl.families.diffusion._likely import Likely
from genctl.maths import noise


class Latent(Gridded):
    """x = D(z), z (size, h, w) of numbers; the prior draws z, and takes the draw's keys."""

    class Config(GriddedConfig):
        size: int = Field(4, ge=1, le=4096)
        """Numbers at each place of the grid."""
        kl: float = Field(1e-3, ge=0, le=100)
        """Weight of the divergence of codes from a standard normal, which keeps them small and smooth."""
        prior: Part = Part(family="edm", model={})
        """The diffusion family that learns the codes: `{family: edm, model: {conditional: true}}`."""
        prior_share: float = Field(0.6, gt=0, lt=1)
        """The share of training, at its end, in which it does."""

    Draw = _diffusion.Draw  # type: ignore[assignment]

    def __init__(self, config: Config, spec: Spec) -> None:
        super().__init__(config, spec)
        self.code = Spec(shape=(config.size, *self.lay(2 * config.size, config.size)))
        self.build_prior()
        if not isinstance(self.second, Likely):
            raise GenctlError("config", f"model.prior: '{config.prior.family}' is no diffusion of codes", "model.prior.family=edm")

    def first(self) -> Player:
        return Player(name="codes", params=[*self.encoder.parameters(), *self.decoder.parameters()], loss=self.loss)

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of z, each (B, size, h, w)."""
        mean, log_var = self.read(x).chunk(2, 1)
        return mean, log_var.clamp(-20, 10)

    def loss(self, batch: Batch, at: Progress) -> Loss:
        """The error of what comes back, in units of the data's variance, and a little divergence."""
        if self.training and at.step == 0:
            self.measure(batch.x)
        mean, log_var = self.codes(batch.x)
        z = mean + (log_var / 2).exp() * noise.randn(*mean.shape, device=mean.device)
        error, kl = self.error(batch.x, z), 0.5 * (mean.square() + log_var.exp() - 1 - log_var).mean()
        return Loss(error + self.config.kl * kl, error=error, kl_nats=kl)

    def encode(self, batch: Batch) -> Tensor:
        """z (B, size, h, w), its mean."""
        return self.codes(batch.x)[0]

    def decode(self, code: Tensor, given: Given | None = None) -> Tensor:
        return self.shown(code)

    def prior(self, n: int, given: Given | None = None, draw: _diffusion.Draw | None = None) -> Tensor:  # type: ignore[override]
        return self.second.sample(n, draw or self.second.Draw(), given)

    def revise(self, batch: Batch, strength: float, draw: _diffusion.Draw) -> Tensor:
        """By way of the codes."""
        second: Likely = self.second  # type: ignore[assignment]
        return self.decode(second.revise(Batch(x=self.encode(batch), given=batch.given), strength, draw))
