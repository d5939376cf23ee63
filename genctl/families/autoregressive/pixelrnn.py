"""PixelRNN: every pixel given those before it, by LSTMs that run over the rows or the diagonals of the picture; likelihoods exact.

Van den Oord, Kalchbrenner and Kavukcuoglu 2016, https://arxiv.org/abs/1601.06759.
"""

from typing import Literal

from pydantic import Field
from torch import nn

from genctl.contract import Spec
from genctl.families.autoregressive._pixels import PixelsConfig, Raster
from genctl.nets import pixelrnn


class PixelRNN(Raster):
    """The parameters of every pixel by one pass over the lines of a picture."""

    class Config(PixelsConfig):
        layer: Literal["row", "diagonal"] = "diagonal"
        """Row LSTM: a pixel sees a triangle above it. Diagonal BiLSTM: all pixels before it."""
        layers: int = Field(1, ge=1, le=128)
        """LSTM layers, each with a residual connection around it."""
        width: int = Field(32, ge=1, le=4096)
        """Units of an LSTM; between the layers stand twice as many features."""
        kernel: Literal[3, 5, 7, 9, 11] = 3
        """For row: places of a row, before masking, that tell a pixel of it and of the next."""
        first: Literal[3, 5, 7, 9, 11] = 7
        """Side of the masked filters that read the picture."""
        hidden: int = Field(64, ge=1, le=8192)
        """Units of the layer that reads a pixel's features."""

    def __init__(self, config: Config, spec: Spec) -> None:
        super().__init__(config, spec)
        c = config
        inputs = self.read_as(2 * c.width)
        self.net = pixelrnn.PixelRNN(inputs, self.said.size, c.width, c.layers, c.layer, c.kernel, c.first, c.hidden, self.classes)

    def units(self) -> list[nn.Module]:
        return list(self.net.layers)
