"""Recurrent layers with the two methods of the transformer: a whole row at once, or on from a state.

Long short-term memory: Hochreiter and Schmidhuber 1997, https://doi.org/10.1162/neco.1997.9.8.1735; Gers et al. 2000 (forget gates).
"""

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Recurrent(nn.Module):
    """Vectors (B, S, widths[0]) to (B, S, widths[-1]), each a function of itself and those before it: an LSTM to each further width.

    dropout    of what each layer reads
    """

    def __init__(self, widths: Sequence[int], dropout: float = 0.0) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.LSTM(a, b, batch_first=True) for a, b in itertools.pairwise(widths))
        self.dropout = dropout

    def forward(self, h: Tensor) -> Tensor:
        for layer in self.layers:
            h, _ = layer(F.dropout(h, self.dropout, self.training) if self.dropout else h)
        return h

    @torch.no_grad()
    def extend(self, h: Tensor, state: dict[str, Tensor] | None) -> tuple[Tensor, dict[str, Tensor]]:
        """The same for S new vectors behind those that `state` has read; the state that has read them too. Carries no gradient."""
        after: dict[str, Tensor] = {}
        for i, layer in enumerate(self.layers):
            before = None if state is None else (state[f"h{i}"][None], state[f"c{i}"][None])
            h, (last, cell) = layer(h, before)
            after |= {f"h{i}": last[0], f"c{i}": cell[0]}
        return h, after
