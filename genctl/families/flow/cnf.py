"""Continuous normalising flow: data drifts to noise along an ordinary differential equation whose velocity is a network.

Chen et al. 2018, Neural ordinary differential equations, https://arxiv.org/abs/1806.07366; Grathwohl et al. 2019, FFJORD,
https://arxiv.org/abs/1810.01367.
"""

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from genctl.contract import Spec
from genctl.families.flow._flow import Flow, FlowConfig
from genctl.maths import noise
from genctl.maths.ode import rk4
from genctl.nets.mlp import Width


class Velocity(nn.Module):
    """dy/dt = f(y, t): layers sigmoid(gate(t)) W h + shift(t) with tanh between them   (after the "concatsquash" of FFJORD's code).

    Vectors are pushed along with y, so that f and its Jacobian times v are one pass: no gradient is taken inside the loss.
    """

    def __init__(self, size: int, hidden: Sequence[int], context: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b, bias=False) for a, b in itertools.pairwise([size, *hidden, size]))
        self.widths = [*hidden, size]
        self.gate, self.shift = nn.Linear(1, sum(self.widths)), nn.Linear(1 + context, sum(self.widths))  # of all layers
        nn.init.normal_(self.layers[-1].weight, std=0.01)  # type: ignore[arg-type]

    def forward(self, y: Tensor, v: Tensor, t: float, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """f (B, D) and df/dy v (K, B, D) of y (B, D), v (K, B, D), context (B, C)."""
        time = y.new_full((1 if context is None else len(y), 1), t)
        gates = self.gate(time[:1]).sigmoid().view(-1, 1).split(self.widths)
        shifts = self.shift(time if context is None else torch.cat([time, context], 1)).split(self.widths, 1)
        for k, (layer, gate, shift) in enumerate(zip(self.layers, gates, shifts, strict=True)):
            if k:
                y = y.tanh()
                v = v * (1 - y.square())
            w = (layer.weight * gate).T
            y, v = torch.addmm(shift, y, w), v @ w
        return y, v


class CNF(Flow):
    """log p(y) = log N(z) + integral of the trace of df/dy along the way from y to z."""

    class Config(FlowConfig):
        hidden: list[Width] = Field(default_factory=lambda: [64, 64, 64], min_length=1, max_length=16)
        """Widths of the hidden layers of the velocity's network."""
        steps: int = Field(8, ge=1, le=10_000)
        """Steps of the solver in training, four calls of the network each."""
        finer: int = Field(4, ge=1, le=1000)
        """How many times as many otherwise, so that what is scored and drawn is the equation's and not its solver's."""
        exact: int = Field(16, ge=0, le=65_536)
        """Numbers in x up to which training takes the exact trace; above, Hutchinson's estimate of it. Scoring is always exact."""

    def __init__(self, config: Config, spec: Spec) -> None:
        super().__init__(config, spec)
        self.velocity = Velocity(spec.size, config.hidden, self.classes)

    def probes(self, y: Tensor) -> Tensor:
        """v (K, B, D) with E[sum_k v_k' J v_k] = trace J: the axes, or one random sign per number (Hutchinson; FFJORD section 3.1)."""
        if not self.training or y.shape[1] <= self.config.exact:
            return torch.eye(y.shape[1]).to(y)[:, None].expand(-1, len(y), -1)
        return noise.randint(2, *y.shape, device=y.device)[None].to(y.dtype) * 2 - 1

    @property
    def steps(self) -> int:
        """Steps of the solver, here and now."""
        return self.config.steps * (1 if self.training else self.config.finer)

    def to_noise(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        v = self.probes(y)

        def f(t: float, state: Tensor) -> Tensor:
            dy, jv = self.velocity(state[:, :-1], v, t, context)
            return torch.cat([dy, (jv * v).sum((0, 2))[:, None]], 1)

        end = rk4(f, F.pad(y, (0, 1)), 0.0, 1.0, self.steps)
        return end[:, :-1], end[:, -1]

    def from_noise(self, z: Tensor, context: Tensor | None) -> Tensor:
        none = z.new_zeros(0, *z.shape)
        return rk4(lambda t, y: self.velocity(y, none, t, context)[0], z, 1.0, 0.0, self.steps)
