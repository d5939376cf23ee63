"""PixelCNN: every pixel given those above it and to its left, by gated masked convolutions; likelihoods exact, drawing cached.

Van den Oord et al. 2016, https://arxiv.org/abs/1606.05328 (gated, class-conditional); logistic mixtures: PixelCNN++, Salimans et al.
2017, https://arxiv.org/abs/1701.05517. Grids of symbols, such as the codes of another model, are read like pictures.
"""

from typing import Literal

from pydantic import Field
from torch import nn

from genctl.contract import Spec
from genctl.families.autoregressive._pixels import PixelsConfig, Raster
from genctl.nets.pixelcnn import GatedPixelCNN


class PixelCNN(Raster):
    """The parameters of every pixel by one pass of convolutions."""

    class Config(PixelsConfig):
        layers: int = Field(8, ge=1, le=128)
        """Gated layers."""
        channels: int = Field(32, ge=1, le=4096)
        """Of each stack."""
        kernel: Literal[3, 5, 7, 9, 11] = 3
        """Side of a layer's filters, before masking."""
        first: Literal[3, 5, 7, 9, 11] = 7
        """Side of the filters that read the picture."""
        hidden: int = Field(64, ge=1, le=8192)
        """Units of the layer that reads a pixel's features."""
        dropout: float = Field(0.0, ge=0, lt=1)
        """Of the features that this layer reads."""

    def __init__(self, config: Config, spec: Spec) -> None:
        super().__init__(config, spec)
        c = config
        inputs = self.read_as(c.channels)
        self.net = GatedPixelCNN(inputs, self.said.size, c.channels, c.layers, c.kernel, c.first, c.hidden, self.classes, c.dropout)

    def units(self) -> list[nn.Module]:
        return list(self.net.layers)
