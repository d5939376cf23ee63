"""Neural spline flow: couplings or autoregressions that bend each number by a rational-quadratic spline.

Durkan, Bekasov, Murray and Papamakarios 2019, https://arxiv.org/abs/1906.04032.
"""

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from genctl.contract import Spec
from genctl.families.flow._flow import Flow, FlowConfig
from genctl.maths import bijectors
from genctl.nets.flows import Autoregressions, Couplings
from genctl.nets.mlp import Width


class Spline(Flow):
    """Splines whose knots one half (coupling) or the numbers before (autoregressive) decide."""

    class Config(FlowConfig):
        autoregressive: bool = False
        """Number after number instead of halves: fewer layers do, sampling is slower."""
        layers: int = Field(6, ge=1, le=256)
        """Couplings or autoregressions."""
        bins: int = Field(8, ge=2, le=128)
        """Pieces of a spline."""
        edge: float = Field(4.0, gt=0, le=100)
        """Splines bend [-edge, edge]; beyond it they are the identity. Data is standardised first."""
        hidden: list[Width] = Field(default_factory=lambda: [128, 128], min_length=1, max_length=16)
        """Widths of the hidden layers of a layer's network."""
        activation: Literal["relu", "silu", "tanh", "gelu"] = "relu"
        """Between its layers."""

    def __init__(self, config: Config, spec: Spec) -> None:
        super().__init__(config, spec, least=2)
        kind = Autoregressions if config.autoregressive else Couplings
        bijector = bijectors.Spline(config.bins, config.edge)
        self.flow = kind(spec.size, bijector, config.layers, config.hidden, config.activation, self.classes)

    def units(self) -> list[nn.Module]:
        return list(self.flow.layers)

    def to_noise(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return self.flow.to_noise(y, context)

    def from_noise(self, z: Tensor, context: Tensor | None) -> Tensor:
        return self.flow.from_noise(z, context)
