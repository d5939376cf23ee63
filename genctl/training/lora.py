"""LoRA: matrices stay as they are, and what is trained is a correction of low rank to each, W + alpha / rank B A. No family knows of it.

Hu et al. 2021, https://arxiv.org/abs/2106.09685. A layer with a correction answers W + B A where it is asked for its `weight`, while the
parameter of that name is W still: whoever reads the layer sees the corrected matrix, whoever saves it the parts.
"""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genctl.contract import Model
from genctl.errors import GenctlError, safe_text
from genctl.maths import noise
from genctl.recipe import LoRA, Train

FACTORS = ("lora_A", "lora_B")


class Corrected(nn.Linear):
    """A linear layer with a correction; made of one that stands in its model already."""

    lora_A: nn.Parameter  # (rank, in)
    lora_B: nn.Parameter  # (out, rank)
    scale: float
    dropout: float

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        return corrected(self._parameters["weight"], self.lora_A, self.lora_B, self.scale)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        read = F.dropout(x, self.dropout, self.training) if self.dropout else x
        change = F.linear(F.linear(read, self.lora_A), self.lora_B)
        return F.linear(x, self._parameters["weight"], self.bias) + self.scale * change  # type: ignore[arg-type]


def corrected(w: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:
    """W + scale B A; -scale takes the correction out again."""
    return w + scale * b @ a


def prepare(model: Model, train: Train) -> None:
    """Freezes what `train.freeze` names and attaches `train.lora`, before any optimiser is made. Raises GenctlError (config)."""
    for pattern in train.freeze:
        found = [p for name, p in model.named_parameters() if within(pattern, name)]
        if not found:
            raise GenctlError("config", f"train.freeze: nothing here is called '{safe_text(pattern)}'", f"names are: {_some(model)}")
        for p in found:
            p.requires_grad_(False)
    if train.lora:
        attach(model, train.lora, train.seed)
    if train.freeze and not any(p.requires_grad for p in model.parameters()):
        raise GenctlError("config", "train.freeze: nothing is left to train")


def within(pattern: str, name: str) -> bool:
    """Whether a dotted name holds a pattern as a whole part of it: `attention.qkv` in `net.blocks.0.attention.qkv.weight`."""
    return f".{pattern}." in f".{name}."


def _some(model: nn.Module) -> str:
    names = [k for k, _ in model.named_parameters()]
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")


def targets(model: Model, how: LoRA) -> dict[str, nn.Linear]:
    """The layers that get a correction: those named, or every one inside the model's repeated parts. Raises GenctlError (config)."""
    plain = {k: m for k, m in model.named_modules() if type(m) is nn.Linear}
    inside = {id(m) for unit in model.units() or [model] for m in unit.modules()}
    kept = {k: m for k, m in plain.items() if not any(within(p, k) for p in how.keep)}
    found = {k: m for k, m in kept.items() if (any(within(p, k) for p in how.targets) if how.targets else id(m) in inside)}
    idle = [p for p in how.targets if not any(within(p, k) for k in kept)]
    if idle or not found:
        what = f"no linear layer here is called '{safe_text(idle[0])}'" if idle else "this model has no linear layers in its repeated parts"
        raise GenctlError("config", f"train.lora.targets: {what}", f"layers are: {', '.join(list(plain)[:6])}" if plain else None)
    return found


def attach(model: Model, how: LoRA, seed: int) -> None:
    """Freezes all but what `keep` names, and gives the targets corrections, which are nothing at first: B is zero."""
    layers = targets(model, how)
    for name, p in model.named_parameters():
        p.requires_grad_(p.requires_grad and any(within(k, name) for k in how.keep))
    with noise.stream(seed, "lora"):
        for layer in layers.values():
            bound = 1 / math.sqrt(layer.in_features)
            a = (2 * noise.rand(how.rank, layer.in_features) - 1) * bound
            layer.lora_A, layer.lora_B = nn.Parameter(a), nn.Parameter(torch.zeros(layer.out_features, how.rank))
            layer.scale, layer.dropout = how.alpha / how.rank, how.dropout  # type: ignore[assignment]
            layer.__class__ = Corrected


def layers(model: nn.Module) -> dict[str, Corrected]:
    """The layers with a correction, by name."""
    return {k: m for k, m in model.named_modules() if isinstance(m, Corrected)}


def parts(model: nn.Module) -> list[str]:
    """The names of the tensors that a merged model does not show: W, A and B of each layer with a correction."""
    return [f"{k}.{part}" for k in layers(model) for part in ("weight", *FACTORS)]


def merge(model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of the model by name, with each correction in its matrix."""
    out = dict(tensors)
    for k, layer in layers(model).items():
        a, b = (out.pop(f"{k}.{f}") for f in FACTORS)
        out[f"{k}.weight"] = corrected(out[f"{k}.weight"], a, b, layer.scale)
    return out
