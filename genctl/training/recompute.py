"""Activations of the repeated parts are forgotten, and computed again in the backward pass.

Chen et al. 2016, https://arxiv.org/abs/1604.06174.
"""

from contextlib import nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from genctl import catalog
from genctl.contract import Model
from genctl.errors import GenctlError
from genctl.maths import noise


def units(model: Model) -> None:
    """Lets every unit of a model do so while it trains. Raises GenctlError (config) for a family that names none."""
    found = model.units()
    if not found:
        name = catalog.name_of(type(model))
        raise GenctlError("config", f"train.recompute: family '{name}' has no repeated parts to recompute", "train.recompute=false")
    for unit in found:
        unit.forward = _forgetful(unit, unit.forward)


def _forgetful(unit: nn.Module, forward: Any) -> Any:
    def run(*args: Any, **kwargs: Any) -> Any:
        if not (unit.training and torch.is_grad_enabled()):
            return forward(*args, **kwargs)
        replay = noise.again()  # dropout is torch's own, and its state is kept by checkpoint
        return checkpoint(forward, *args, use_reentrant=False, context_fn=lambda: (nullcontext(), replay()), **kwargs)

    return run
