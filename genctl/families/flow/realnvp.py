"""RealNVP: an invertible network of affine couplings, so that the likelihood is exact and sampling is one pass.

Dinh, Sohl-Dickstein and Bengio 2017, Density estimation using Real NVP, https://arxiv.org/abs/1605.08803.
"""

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from genctl.contract import Spec
from genctl.families.flow._flow import Flow, FlowConfig
from genctl.maths.bijectors import Affine
from genctl.nets.flows import Couplings
from genctl.nets.mlp import Width


class RealNVP(Flow):
    """Each coupling scales and shifts one half of x given the other   (eq. 7, 8)."""

    class Config(FlowConfig):
        couplings: int = Field(8, ge=1, le=256)
        """Couplings; each moves one half of x given the other, in turn."""
        hidden: list[Width] = Field(default_factory=lambda: [128, 128], min_length=1, max_length=16)
        """Widths of the hidden layers of a coupling's network."""
        activation: Literal["relu", "silu", "tanh", "gelu"] = "relu"
        """Between its layers."""
        bound: float = Field(3.0, gt=0, le=20)
        """Largest |log-scale| of one coupling, approached softly."""

    def __init__(self, config: Config, spec: Spec) -> None:
        super().__init__(config, spec, least=2)
        self.flow = Couplings(spec.size, Affine(config.bound), config.couplings, config.hidden, config.activation, self.classes)

    def units(self) -> list[nn.Module]:
        return list(self.flow.layers)

    def to_noise(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return self.flow.to_noise(y, context)

    def from_noise(self, z: Tensor, context: Tensor | None) -> Tensor:
        return self.flow.from_noise(z, context)
