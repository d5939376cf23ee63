"""Multi-layer perceptrons."""

import itertools
from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from genctl.nets.norm import BatchNorm

Width = Annotated[int, Field(ge=1, le=65_536)]  # units of a layer, in a family's Config
ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "silu": nn.SiLU, "tanh": nn.Tanh, "gelu": nn.GELU}


def mlp(sizes: Sequence[int], activation: str = "relu", last: bool = False, norm: bool = False) -> nn.Sequential:
    """Linear layers of `sizes` [in, hidden..., out] with an activation between them, and behind the last if `last`.

    norm: batch normalisation before each activation, in place of the layer's bias.
    """
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(itertools.pairwise(sizes)):
        active = last or i < len(sizes) - 2
        layers.append(nn.Linear(a, b, bias=not (norm and active)))
        if active:
            layers += [BatchNorm(b)] if norm else []
            layers.append(ACTIVATIONS[activation]())
    return nn.Sequential(*layers)


def waves(x: Tensor, octaves: int) -> Tensor:
    """(B, D) -> (B, D (1 + 2 octaves)): x beside its sines and cosines, without which fine detail is learned slowly.

    Tancik et al. 2020, https://arxiv.org/abs/2006.10739.
    """
    angles = [x * 2.0**k for k in range(octaves)]
    return torch.cat([x, *(a.sin() for a in angles), *(a.cos() for a in angles)], 1)
