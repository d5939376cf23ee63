"""The networks that take noise away, and the keys that describe them."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from genctl.config import Settings
from genctl.contract import Model, Spec
from genctl.errors import GenctlError
from genctl.nets.dit import DiT
from genctl.nets.mlp import Width
from genctl.nets.timed import TimedMLP
from genctl.nets.told import Teller, Told
from genctl.nets.unet import UNet


class NetworkConfig(Settings):
    """The keys that they take."""

    network: Literal["auto", "unet", "dit", "mlp"] = "auto"
    """auto: an MLP for rows of numbers, a U-Net for signals, images and videos; dit: a transformer over patches."""
    channels: list[Width] = Field(default_factory=lambda: [32, 64], min_length=1, max_length=6)
    """unet: channels of each level, half the size each."""
    blocks: int = Field(1, ge=1, le=8)
    """unet: residual blocks a level, each way."""
    patch: int = Field(1, ge=1, le=16)
    """unet, dit: squares of so many pixels a side are folded into channels first."""
    attention: bool = True
    """unet: self-attention at the lowest level."""
    width: int = Field(128, ge=4, le=8192)
    """mlp, dit: numbers of a layer; all: of the embedding of noise, class and text."""
    depth: int = Field(3, ge=1, le=64)
    """mlp: residual layers; dit: blocks."""
    heads: int = Field(4, ge=1, le=256)
    """dit: heads of attention."""
    waves: int = Field(4, ge=0, le=16)
    """mlp: octaves of sines and cosines beside x."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """unet, dit: inside the blocks."""
    conditional: bool = False
    """Draw given the class label."""
    text: bool = False
    """Draw given the text that stands beside x, read by a small transformer that is trained along."""
    reader: int = Field(2, ge=1, le=48)
    """text: layers of that transformer."""
    unlabel: float = Field(0.1, ge=0, lt=1)
    """The share of training examples whose class or text is hidden, for guidance."""


def texts(spec: Spec) -> list[str]:
    """The names of the texts that stand beside x."""
    return [k for k, v in spec.given.items() if v.vocab and len(v.shape) == 1 and v.media == "text" and v.end is not None]


class Network(nn.Module):
    """(B, *shape), noise, class and text -> (B, *shape). Raises GenctlError (config)."""

    def __init__(self, config: NetworkConfig, model: Model) -> None:
        super().__init__()
        spec = model.spec
        kind = config.network if config.network != "auto" else "mlp" if spec.kind == "vector" else "unet"
        if (kind == "mlp") != (spec.kind == "vector"):
            raise GenctlError("config", f"model.network: {kind} does not read {spec.kind} {list(spec.shape)}", "model.network=auto")
        self.classes = model.labelled(config.conditional)
        self.caption = ""
        if config.text:
            found = texts(spec)
            if not found:
                raise GenctlError("config", "model.text: no text stands beside x in this data", "model.text=false")
            self.caption = found[0]
            model.conditions = (*model.conditions, self.caption)
        self.end = spec.given[self.caption].end if self.caption else None
        emb, text = config.width, config.width if self.caption else 0
        self.teller = Teller(emb, self.classes, spec.given.get(self.caption), config.reader)
        if kind == "mlp":
            self.body: nn.Module = TimedMLP(spec.size, config.width, config.depth, emb, config.waves)
        elif kind == "unet":
            self.body = UNet(spec.shape, config.channels, emb, config.blocks, config.patch, config.attention, config.dropout, text)
        else:
            if config.width % config.heads:
                raise GenctlError("config", f"model.heads: {config.heads} do not divide model.width {config.width}")
            self.body = DiT(spec.shape, config.width, config.depth, config.heads, emb, config.patch, config.dropout, text)

    def tell(self, given: Mapping[str, Tensor] | None, hidden: Tensor | None = None) -> Told:
        """Class and text of `given`, the rows that are `hidden` (B,) left out; once for a whole walk."""
        label = given["label"] if given and self.classes else None
        text = given[self.caption] if given and self.caption else None
        if hidden is not None:
            label = None if label is None else label.masked_fill(hidden, self.classes)
            text = None if text is None else text.masked_fill(hidden[:, None], self.end or 0)
        told: Told = self.teller.tell(label, text)
        return told

    def forward(self, x: Tensor, clock: Tensor, told: Told) -> Tensor:
        """clock (B,): the noise on a scale of hundreds."""
        out: Tensor = self.body(x, self.teller(clock, told))
        return out
