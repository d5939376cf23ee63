"""The networks between x and a row of numbers that this room's families take, and the keys that describe them."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from genctl.config import Settings
from genctl.contract import Spec
from genctl.errors import GenctlError
from genctl.nets.conv import ConvDecoder, ConvEncoder
from genctl.nets.mlp import Width, mlp


class NetworkConfig(Settings):
    """The keys that they take."""

    network: Literal["mlp", "conv"] = "mlp"
    """Fully connected, or convolutional (images)."""
    hidden: list[Width] = Field(default_factory=lambda: [500, 500], min_length=1, max_length=16)
    """Widths of the hidden layers, from x to z; the decoder mirrors them. For conv: channels, one halving of the picture each."""
    dense: list[Width] = Field(default_factory=list, max_length=4)
    """For conv: widths of the linear layers between the convolutions and z."""
    blocks: int = Field(0, ge=0, le=64)
    """For conv: residual blocks of two convolutions at each size of the picture, on the way in and on the way out."""
    activation: Literal["relu", "silu", "tanh", "gelu"] = "relu"
    """Between the layers."""
    norm: bool = False
    """Batch normalisation inside both networks: learns several times as fast."""


def beside(config: NetworkConfig, x: Tensor, told: Tensor) -> Tensor:
    """x with what is known (B, K), as the encoder reads it: as planes of a picture (B, C + K, H, W), as numbers of a row (B, D + K)."""
    if config.network == "conv":
        return torch.cat([x, told[:, :, None, None].expand(-1, -1, *x.shape[2:])], 1)
    return torch.cat([x.flatten(1), told], 1)


def encoder(config: NetworkConfig, spec: Spec, out: int, told: int = 0) -> nn.Module:
    """(B, *spec.shape), with `told` numbers `beside`, -> (B, out). Raises GenctlError (config) for a conv on what is no image."""
    if config.network == "conv":
        if spec.kind != "image":
            what = f"model.network: conv needs images; this data is {spec.kind} {list(spec.shape)}"
            raise GenctlError("config", what, "model.network=mlp")
        shape = (spec.shape[0] + told, *spec.shape[1:])
        return ConvEncoder(shape, config.hidden, out, config.activation, config.dense, config.norm, config.blocks)
    return nn.Sequential(nn.Flatten(), mlp([spec.size + told, *config.hidden, out], config.activation, norm=config.norm))


def decoder(config: NetworkConfig, shape: Sequence[int], code: int) -> nn.Module:
    """(B, code) -> (B, *shape): its mirror; the last layer is linear."""
    if config.network == "conv":
        return ConvDecoder(shape, config.hidden, code, config.activation, config.dense, config.norm, config.blocks)
    net = mlp([code, *reversed(config.hidden), math.prod(shape)], config.activation, norm=config.norm)
    return nn.Sequential(net, nn.Unflatten(1, shape))
