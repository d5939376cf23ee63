"""Recurrent network: reads a row symbol by symbol into a state of fixed size, and predicts the next one from that.

Mikolov et al. 2010, https://www.isca-archive.org/interspeech_2010/mikolov10_interspeech.html; the cells, and what keeps them from learning by
heart, stand with their sources in nets/recurrent.py. A row may be of any length when it is drawn.
"""

from pydantic import Field
from torch import nn

from genctl.contract import Spec
from genctl.families.autoregressive._next import Next, NextConfig
from genctl.nets.recurrent import Cell, Recurrent


class RNN(Next):
    """Every window of training begins with an empty state."""

    class Config(NextConfig):
        cell: Cell = "rnn"
        """rnn: a tanh of a sum; gru and lstm: gates decide what is kept."""
        layers: int = Field(2, ge=1, le=64)
        """Recurrent layers."""
        width: int = Field(200, ge=1, le=65_536)
        """Dimensions of the embedding and of the last layer's state."""
        hidden: int = Field(0, ge=0, le=65_536)
        """Of the states of the layers between; 0: as the width."""
        dropout: float = Field(0.0, ge=0, lt=1)
        """Of what each layer reads."""
        locked: bool = False
        """One mask of dropout for all places of a row."""
        weight_drop: float = Field(0.0, ge=0, lt=1)
        """Dropout of the matrices from state to state."""

    def __init__(self, config: Config, spec: Spec) -> None:
        super().__init__(config, spec, config.width)
        widths = [config.width, *([config.hidden or config.width] * (config.layers - 1)), config.width]
        self.net = Recurrent(widths, config.dropout, config.cell, config.locked, config.weight_drop)
        self.finish(config.width)

    def window(self, length: int) -> int:
        """A state reads on for ever."""
        return max(self.spec.size, length + 1)

    def units(self) -> list[nn.Module]:
        return list(self.net.layers)
