"""Inverse autoregressive flow: the mirror of maf; samples in one pass, densities of data number by number.

Kingma et al. 2016, https://arxiv.org/abs/1606.04934.
"""

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from genctl.contract import Spec
from genctl.families.flow._flow import Flow, FlowConfig
from genctl.maths.bijectors import Affine
from genctl.nets.flows import Autoregressions
from genctl.nets.mlp import Width


class IAF(Flow):
    """A stack of MADEs that reads noise   (eq. 10 to 12)."""

    class Config(FlowConfig):
        layers: int = Field(5, ge=1, le=256)
        """Autoregressions, back to front in every other one."""
        hidden: list[Width] = Field(default_factory=lambda: [128, 128], min_length=1, max_length=16)
        """Widths of the hidden layers of a layer's masked network."""
        activation: Literal["relu", "silu", "tanh", "gelu"] = "relu"
        """Between its layers."""
        bound: float = Field(3.0, gt=0, le=20)
        """Largest |log-scale| of one layer, approached softly."""

    def __init__(self, config: Config, spec: Spec) -> None:
        super().__init__(config, spec, least=2)
        self.inverse = Autoregressions(
            spec.size, Affine(config.bound), config.layers, config.hidden, config.activation, self.classes, inverse=True
        )

    def units(self) -> list[nn.Module]:
        return list(self.inverse.layers)

    def to_noise(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return self.inverse.to_noise(y, context)

    def from_noise(self, z: Tensor, context: Tensor | None) -> Tensor:
        return self.inverse.from_noise(z, context)
