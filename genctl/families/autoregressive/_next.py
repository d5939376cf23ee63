"""Rows of symbols, each predicted from those before it by a network: all that such families have in common but that.

A learned vector stands before the first symbol, or the vector of the symbol `begin`: then the logits of x_1 .. x_T are those that a model
without such a vector, as GPT-2 and Llama are, gives when it reads begin, x_1 .. x_{T-1}. What stands beside x and is named in
`conditions` stands in front of that, as vectors. Grids are read in raster order.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from genctl.config import Settings
from genctl.contract import Batch, Given, Loss, Progress, Spec
from genctl.errors import GenctlError, safe_text
from genctl.families.autoregressive._ordered import Ordered
from genctl.maths import decoding, entropy
from genctl.nets.embed import Reader
from genctl.powers import State

LARGE = 2048  # symbols from which logits are not held for a whole batch


class SymbolConfig(Settings):
    """The keys of whoever predicts symbols."""

    tied: bool = True
    """The output layer is the embedding, transposed."""
    smoothing: float = Field(0.0, ge=0, lt=1)
    """Label smoothing in training: this share of the loss is the mean over all symbols."""
    z_loss: float = Field(0.0, ge=0, le=1)
    """Weight, in training, of the square of log Z of the logits, which keeps them from drifting (1e-4 in PaLM)."""


class NextConfig(SymbolConfig):
    """The keys that all of them take."""

    begin: int | None = Field(None, ge=0)
    """The symbol whose vector stands before the first one; none: a vector of its own is learned."""
    conditions: list[str] = Field(default_factory=list, max_length=16)
    """Names beside x, such as label, that x is conditional on."""
    learn: str = ""
    """The name beside x that says which symbols are learned, such as those of an answer; the others are only read. Empty: all are."""


class Next(Ordered):
    """By a network: a family sets `net`, with `forward` over whole rows of vectors and `extend` on from a state."""

    net: Any

    def __init__(self, config: Any, spec: Spec, width: int, front: Sequence[str] | None = None) -> None:
        """width: of the vectors that the network reads and of those that it answers with. front: names in front; None: those configured."""
        super().__init__(config, spec)
        self.width = width
        names = config.conditions if front is None else front
        for name in names:
            if name not in spec.given:
                beside = ", ".join(spec.given) or "nothing"
                raise GenctlError("config", f"model.conditions: '{safe_text(name)}' does not stand beside this data; {beside} does")
        self.conditions = tuple(names)
        self.learn = getattr(config, "learn", "")
        told = spec.given.get(self.learn)
        if self.learn and (told is None or (told.shape, told.vocab) != (spec.shape, 2)):
            what = f"model.learn: no '{safe_text(self.learn)}' stands beside this data and says yes or no of each symbol"
            raise GenctlError("config", what, "leave it out, or data of dialogues")
        self.readers = nn.ModuleDict({name: Reader(spec.given[name], width) for name in names})
        self.begin = getattr(config, "begin", None)
        if self.begin is not None and self.begin >= spec.vocab:
            raise GenctlError("config", f"model.begin: {self.begin} is no symbol of this data, which has {spec.vocab}")
        self.first = nn.Parameter(0.02 * torch.randn(width)) if self.begin is None else None
        self.embed = nn.Embedding(spec.vocab, width)
        nn.init.normal_(self.embed.weight, std=0.02)

    def finish(self, width: int) -> None:
        """The output layer, once the network stands."""
        self.head = None if self.config.tied else nn.Linear(width, self.spec.vocab, bias=False)
        if self.head is not None:
            nn.init.zeros_(self.head.weight)

    # --- the network ---

    def front(self, n: int, given: Given | None) -> Tensor:
        """What stands before x, as vectors (n, P, width)."""
        start = (self.embed.weight[self.begin] if self.first is None else self.first).expand(n, 1, -1)
        if not self.readers:
            return start
        return torch.cat([*(read((given or {})[name]) for name, read in self.readers.items()), start], 1)

    def score(self, h: Tensor) -> Tensor:
        """(..., V) logits of the symbol behind each vector."""
        return F.linear(h, self.embed.weight if self.head is None else self.head.weight)

    def hidden(self, x: Tensor, given: Given | None, seen: Tensor | None = None) -> Tensor:
        """(B, T, width): what each symbol of x (B, T) is scored from, given those before it that are `seen` (B, T)."""
        front, e = self.front(len(x), given), self.embed(x[:, :-1])
        told, looked = torch.cat([front, e if seen is None else e * seen[:, :-1, None]], 1), self.looked(x)
        h = self.net(told) if looked is None else self.net(told, looked)
        return h[:, front.shape[1] - 1 :] if front.shape[1] > 1 else h

    def looked(self, x: Tensor) -> Tensor | None:
        """(B, T, T): which of the vectors that are read for x (B, T) each of them looks at; None: all before it."""
        return None

    def logits(self, x: Tensor, given: Given | None) -> Tensor:
        """(B, T, V): of each symbol of x (B, T), given those before it."""
        return self.score(self.hidden(x, given))

    def counts(self, batch: Batch) -> Tensor | None:
        """(B, T) True for the symbols that are learned; all up to the end where nothing beside x says which. None: all."""
        live = decoding.live(batch.x.flatten(1), self.spec.end)
        if self.learn not in batch.given:
            return live
        told = batch.given[self.learn].flatten(1).bool()
        return told if live is None else live & told

    def nats(self, batch: Batch) -> Tensor:
        x = batch.x.flatten(1)
        nats = F.cross_entropy(self.logits(x, batch.given).flatten(0, 1), x.flatten(), reduction="none").view_as(x)
        mask = self.counts(batch)
        return nats if mask is None else nats * mask

    def context(self, batch: Batch, seen: Tensor | None = None) -> Tensor:
        """What is known behind each symbol; at an end and at the last place, what was known before it."""
        x = batch.x.flatten(1)
        before = self.hidden(x, batch.given, seen)
        behind = torch.cat([before[:, 1:], before[:, -1:]], 1)
        return behind if self.spec.end is None else torch.where((x == self.spec.end)[..., None], before, behind)

    def idle(self) -> list[nn.Parameter]:
        return [] if self.head is None else list(self.head.parameters())

    # --- the contract ---

    def loss(self, batch: Batch, at: Progress) -> Loss:
        """Nats per symbol that is learned."""
        x = batch.x.flatten(1)
        h, y = self.hidden(x, batch.given).flatten(0, 1), x.flatten()
        mask = self.counts(batch)
        count = x.numel() if mask is None else mask.sum()
        share = None if mask is None else mask.flatten() / mask.sum().clamp(min=1)
        return Loss(self.mean_nats(h, y, share), weight=count)

    def mean_nats(self, h: Tensor, y: Tensor, share: Tensor | None) -> Tensor:
        """Scalar: the nats of symbols y (N,) behind h (N, width), by their share (N,) in a mean; None: all alike."""
        extra = (self.config.smoothing, self.config.z_loss) if self.training else (0.0, 0.0)
        if self.spec.vocab >= LARGE and not torch.is_autocast_enabled(h.device.type):
            weight = self.embed.weight if self.head is None else self.head.weight
            return entropy.linear_nats(h, weight, y, h.new_full((len(y),), 1 / len(y)) if share is None else share, *extra)
        logits = self.score(h)
        if share is None:
            return entropy.nats(logits, y, *extra).mean() if any(extra) else F.cross_entropy(logits, y)
        return entropy.nats(logits, y, *extra) @ share

    def start(self, n: int, given: Given | None) -> tuple[Tensor, State]:
        h, state = self.net.extend(self.front(n, given), None)
        return self.score(h[:, -1]), state

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, Any]:
        h, state = self.net.extend(self.embed(tokens), state)
        return self.score(h), state
