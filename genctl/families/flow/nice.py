"""NICE: additive couplings and one scaling, the first of the coupling flows.

Dinh, Krueger and Bengio 2015, https://arxiv.org/abs/1410.8516.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from genctl.contract import Spec
from genctl.families.flow._flow import Flow, FlowConfig
from genctl.maths.bijectors import Additive
from genctl.nets.flows import Couplings
from genctl.nets.mlp import Width


class NICE(Flow):
    """Each coupling shifts one half of x given the other; volume changes by the last, diagonal layer alone   (eq. 10, section 3.3)."""

    class Config(FlowConfig):
        couplings: int = Field(4, ge=1, le=256)
        """Additive couplings."""
        hidden: list[Width] = Field(default_factory=lambda: [256, 256], min_length=1, max_length=16)
        """Widths of the hidden layers of a coupling's network."""
        activation: Literal["relu", "silu", "tanh", "gelu"] = "relu"
        """Between its layers."""

    def __init__(self, config: Config, spec: Spec) -> None:
        super().__init__(config, spec, least=2)
        self.flow = Couplings(spec.size, Additive(), config.couplings, config.hidden, config.activation, self.classes)
        self.log_s = nn.Parameter(torch.zeros(spec.size))

    def units(self) -> list[nn.Module]:
        return list(self.flow.layers)

    def to_noise(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        z, log_det = self.flow.to_noise(y, context)
        return z * self.log_s.exp(), log_det + self.log_s.sum()

    def from_noise(self, z: Tensor, context: Tensor | None) -> Tensor:
        return self.flow.from_noise(z * (-self.log_s).exp(), context)
