"""Wasserstein GAN: the critic estimates how far the forgeries must be carried to become the data; it is kept from being steep.

Arjovsky, Chintala and Bottou 2017, https://arxiv.org/abs/1701.07875, by `clip_weights`; Gulrajani et al. 2017,
https://arxiv.org/abs/1704.00028, by `gradient_penalty`, the default.
"""

from pydantic import Field

from genctl.families.adversarial._game import PayOff
from genctl.families.adversarial.dcgan import DCGAN


class WGAN(DCGAN):
    """The networks of dcgan, and another game: five turns of the critic for one of the generator, no batch-norm in the critic."""

    class Config(DCGAN.Config):
        loss: PayOff = "wasserstein"
        """The game's pay-off."""
        n_critic: int = Field(5, ge=1, le=100)
        """The critic's turns in a step."""
        gradient_penalty: float = Field(10.0, ge=0, le=10_000)
        """Weight lambda of the penalty that holds the critic's gradient between real and drawn examples to length 1."""
        norm_critic: bool = False
        """Batch normalisation in the critic: with it the penalty of an example would depend on the others."""
