"""Rows as they grow: what they are told before anything is drawn, and a model that reads on and on."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from genctl.contract import Given
from genctl.powers import Causal


class Told:
    """The places of rows that are not drawn but told: x (n, P) where `seen` (n, P); None: all of x.

    common  columns at the front that every row is told
    width   columns behind which no row is told anything
    """

    def __init__(self, n: int, length: int, x: Tensor | None, seen: Tensor | None) -> None:
        self.x = torch.zeros(n, 0, dtype=torch.long) if x is None else x[:, :length]
        self.seen = torch.ones_like(self.x, dtype=torch.bool) if seen is None else seen[:, :length]
        some, every = (f(0).tolist() for f in (self.seen.any, self.seen.all))
        self.width = max((t + 1 for t, told in enumerate(some) if told), default=0)
        self.common = next((t for t, told in enumerate(every) if not told), len(every))

    @property
    def front(self) -> Tensor:
        """(n, common)."""
        return self.x[:, : self.common]

    def at(self, t: int) -> Tensor | None:
        """(n,) which rows are told their symbol in column t; None: none of them."""
        return self.seen[:, t] if t < self.width else None

    def put(self, t: int, token: Tensor) -> Tensor:
        """(n,) the symbols of column t, given what was drawn for it."""
        return torch.where(self.seen[:, t], self.x[:, t], token) if t < self.width else token


class Reader:
    """A model in the middle of rows. Longer ones than it can read go on by reading the last half of a window afresh.

    window  the longest row the model can score: it has read at most window - 1 symbols when it says the next
    """

    def __init__(self, model: Causal, window: int, given: Given | None) -> None:
        self.model, self.window, self.given = model, window, given

    def begin(self, n: int, rows: Tensor) -> Tensor:
        """Logits (n, V) behind rows (n, S), of which the last window - 1 symbols are read. n: as many rows, or a multiple, as in `given`."""
        beside = {k: v if len(v) == n else v.repeat_interleave(n // len(v), 0) for k, v in (self.given or {}).items()}
        logits, self.state = self.model.start(n, beside if self.given else self.given)
        context = rows[:, max(0, rows.shape[1] - self.window + 1) :]
        self.read = context.shape[1]
        return self._step(context) if self.read else logits

    def on(self, token: Tensor, rows: Sequence[Tensor]) -> Tensor:
        """Logits (n, V) behind one more symbol (n,); rows: the pieces of the rows that end with it."""
        if self.read + 1 < self.window:
            self.read += 1
            return self._step(token[:, None])
        half = max(1, self.window // 2)
        return self.begin(len(token), torch.cat(list(rows[-half:]), 1)[:, -half:])

    def pick(self, index: Tensor) -> None:
        """Goes on with the rows `index` alone. A state that knows how to be quick about it has a method `pick`."""
        pick: Any = getattr(self.state, "pick", None)
        self.state = pick(index) if pick else {k: v[index] for k, v in self.state.items()}

    def _step(self, tokens: Tensor) -> Tensor:
        out, self.state = self.model.step(tokens, self.state)
        return out[:, -1]
