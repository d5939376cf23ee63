"""The networks between x and a row of numbers that this room's families take, and the keys that describe them."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from genctl.config import Settings
from genctl.contract import Spec
from genctl.errors import GenctlError
from genctl.nets.conv import ConvDecoder, ConvEncoder
from genctl.nets.mlp import Width, mlp
from genctl.nets.recurrent import Recurrent
from genctl.nets.symbols import Pooled, Symbols
from genctl.nets.transformer import Transformer

READS = {
    "mlp": ("vector", "signal", "image", "video"),
    "conv": ("image",),
    "lstm": ("tokens",),
    "transformer": ("tokens",),
}  # kinds of data


class NetworkConfig(Settings):
    """The keys that they take."""

    network: Literal["mlp", "conv", "lstm", "transformer"] = "mlp"
    """Fully connected, convolutional (images), or for rows of symbols recurrent or of causal attention."""
    hidden: list[Width] = Field(default_factory=lambda: [500, 500], min_length=1, max_length=16)
    """Widths of the hidden layers, from x to z; the decoder mirrors them. For conv: channels, one halving of the picture each. For
    symbols: of the layers of each of both networks; a transformer's are all alike."""
    dense: list[Width] = Field(default_factory=list, max_length=4)
    """For conv: widths of the linear layers between the convolutions and z."""
    blocks: int = Field(0, ge=0, le=64)
    """For conv: residual blocks of two convolutions at each size of the picture, on the way in and on the way out."""
    activation: Literal["relu", "silu", "tanh", "gelu"] = "relu"
    """Between the layers."""
    norm: bool = False
    """Batch normalisation inside both networks: learns several times as fast."""
    heads: int = Field(4, ge=1, le=256)
    """For transformer: heads of attention."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """For symbols: of what each layer reads (lstm), or adds (transformer)."""


def check(config: NetworkConfig, spec: Spec) -> None:
    """Raises GenctlError (config) when the network does not read this data."""
    if spec.kind not in READS[config.network]:
        what = f"model.network: {config.network} reads {' or '.join(READS[config.network])}; this data is {spec.kind} {list(spec.shape)}"
        raise GenctlError("config", what, f"model.network={'lstm' if spec.vocab else 'mlp'}")


class Reconstruction:
    """How far x is from its reconstruction: `auto` is the cross-entropy for pixels in [0, 1], the square otherwise."""

    def __init__(self, name: str, spec: Spec) -> None:
        self.crossed, self.levels = name == "cross-entropy" or (name == "auto" and spec.levels > 0), spec.levels

    def error(self, out: Tensor, x: Tensor) -> Tensor:
        """Summed over x, its mean over the batch."""
        each = F.binary_cross_entropy_with_logits(out, x, reduction="none") if self.crossed else (out - x).square()
        return each.flatten(1).sum(1).mean()

    def scaled(self, out: Tensor) -> Tensor:
        """What a decoder says, in the data's scale."""
        return torch.sigmoid(out) if self.crossed else out.clamp(0, 1) if self.levels else out


def beside(config: NetworkConfig, spec: Spec, x: Tensor, told: Tensor) -> Tensor:
    """x with a label one-hot (B, K), as the encoder reads it: as planes of a picture (B, C + K, H, W), as numbers of a row (B, D + K),
    as a symbol in front of symbols (B, 1 + T)."""
    if config.network == "conv":
        return torch.cat([x, told[:, :, None, None].expand(-1, -1, *x.shape[2:])], 1)
    if spec.vocab:
        return torch.cat([spec.vocab + told.argmax(1, keepdim=True), x.flatten(1)], 1)
    return torch.cat([x.flatten(1), told], 1)


def encoder(config: NetworkConfig, spec: Spec, out: int, told: int = 0) -> nn.Module:
    """(B, *spec.shape), with a label of `told` classes `beside`, -> (B, out). Raises GenctlError (config)."""
    check(config, spec)
    if spec.vocab:
        return Pooled(sequence(config, spec.size + bool(told)), config.hidden, spec.vocab + told, out, spec.end)
    if config.network == "conv":
        shape = (spec.shape[0] + told, *spec.shape[1:])
        return ConvEncoder(shape, config.hidden, out, config.activation, config.dense, config.norm, config.blocks)
    return nn.Sequential(nn.Flatten(), mlp([spec.size + told, *config.hidden, out], config.activation, norm=config.norm))


def decoder(config: NetworkConfig, shape: Sequence[int], code: int) -> nn.Module:
    """(B, code) -> (B, *shape): its mirror; the last layer is linear."""
    if config.network == "conv":
        return ConvDecoder(shape, config.hidden, code, config.activation, config.dense, config.norm, config.blocks)
    net = mlp([code, *reversed(config.hidden), math.prod(shape)], config.activation, norm=config.norm)
    return nn.Sequential(net, nn.Unflatten(1, shape))


def symbols(config: NetworkConfig, spec: Spec, code: int, forget: float) -> Symbols:
    """p(x | z) of rows of symbols, z (B, code). Raises GenctlError (config)."""
    check(config, spec)
    return Symbols(spec, sequence(config, spec.size), config.hidden, code, forget)


def sequence(config: NetworkConfig, length: int) -> nn.Module:
    """Vectors (B, S, hidden[0]) to (B, S, hidden[-1]), S <= length, each a function of itself and those before it."""
    widths = config.hidden
    if config.network == "lstm":
        return Recurrent([widths[0], *widths], config.dropout)
    if len(set(widths)) > 1 or widths[0] % config.heads or widths[0] // config.heads % 2:
        raise GenctlError("config", f"model.hidden: {config.heads} heads do not divide {widths} into even parts of one width")
    return Transformer(widths[0], len(widths), config.heads, length, dropout=config.dropout)
