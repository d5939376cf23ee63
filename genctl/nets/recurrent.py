"""Recurrent layers with the two methods of the transformer: a whole row at once, or on from a state.

Elman 1990, https://doi.org/10.1207/s15516709cog1402_1; long short-term memory: Hochreiter and Schmidhuber 1997,
https://doi.org/10.1162/neco.1997.9.8.1735, with the forget gates of Gers et al. 2000; gated units: Cho et al. 2014,
https://arxiv.org/abs/1406.1078. What keeps them from learning by heart: Merity et al. 2018, https://arxiv.org/abs/1708.02182.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genctl.maths import noise

Cell = Literal["rnn", "gru", "lstm"]
CELLS: dict[str, Callable[..., nn.RNNBase]] = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


class Recurrent(nn.Module):
    """Vectors (B, S, widths[0]) to (B, S, widths[-1]), each a function of itself and those before it: a layer to each further width.

    dropout        of what each layer reads
    locked         one mask for all places of a row in place of one a place (Gal and Ghahramani 2016, https://arxiv.org/abs/1512.05287)
    weight_drop    of the matrices from state to state, anew for each batch
    """

    def __init__(
        self, widths: Sequence[int], dropout: float = 0.0, cell: Cell = "lstm", locked: bool = False, weight_drop: float = 0.0
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(CELLS[cell](a, b, batch_first=True) for a, b in itertools.pairwise(widths))
        self.dropout, self.locked, self.weight_drop, self.cell = dropout, locked, weight_drop, cell

    def forward(self, h: Tensor, state: dict[str, Tensor] | None = None) -> Tensor:
        """From a state of zeros, or from `state`."""
        for i, layer in enumerate(self.layers):
            h, _ = self.run(layer, self.drop(h), self.before(state, i))
        return h

    def before(self, state: dict[str, Tensor] | None, i: int) -> Any:
        """Of layer i, as torch takes it."""
        if state is None:
            return None
        return (state[f"h{i}"][None], state[f"c{i}"][None]) if self.cell == "lstm" else state[f"h{i}"][None]

    def drop(self, h: Tensor) -> Tensor:
        """h (B, S, D) with some numbers 0 and the others larger, in training."""
        if not self.dropout or not self.training:
            return h
        if not self.locked:
            return F.dropout(h, self.dropout)
        kept = noise.rand(len(h), 1, h.shape[2], device=h.device) >= self.dropout
        return h * kept / (1 - self.dropout)

    def run(self, layer: Any, h: Tensor, before: Any = None) -> tuple[Tensor, Any]:
        """One layer from a state, None: of zeros."""
        if not self.weight_drop or not self.training:
            out: tuple[Tensor, Any] = layer(h, before)
            return out
        own = [layer.weight_ih_l0, F.dropout(layer.weight_hh_l0, self.weight_drop), layer.bias_ih_l0, layer.bias_hh_l0]
        zero = h.new_zeros(1, len(h), layer.hidden_size)
        cells = torch._VF  # type: ignore[attr-defined]
        if self.cell == "lstm":
            y, *state = cells.lstm(h, before or (zero, zero), own, True, 1, 0.0, True, False, True)
            return y, tuple(state)
        first = zero if before is None else before
        y, last = (cells.gru if self.cell == "gru" else cells.rnn_tanh)(h, first, own, True, 1, 0.0, True, False, True)
        return y, last

    @torch.no_grad()
    def extend(self, h: Tensor, state: dict[str, Tensor] | None) -> tuple[Tensor, dict[str, Tensor]]:
        """The same for S new vectors behind those that `state` has read; the state that has read them too. Carries no gradient."""
        after: dict[str, Tensor] = {}
        for i, layer in enumerate(self.layers):
            h, last = layer(h, self.before(state, i))
            if self.cell == "lstm":
                after |= {f"h{i}": last[0][0], f"c{i}": last[1][0]}
            else:
                after[f"h{i}"] = last[0]
        return h, after
