"""Sequence to sequence: one network reads a text, another writes what belongs to it, looking at what was read: translation, summaries.

The transformer of Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, with the norm before each half of a block; or LSTMs with attention,
Bahdanau et al. 2015, https://arxiv.org/abs/1409.0473, in the form of Luong et al. 2015. Label smoothing: Szegedy et al. 2016,
https://arxiv.org/abs/1512.00567, section 7. One matrix for all symbols: Press and Wolf 2017, https://arxiv.org/abs/1608.05859.
Symbols that are copied: See et al. 2017, https://arxiv.org/abs/1704.04368.
"""

from collections.abc import Iterator
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from genctl.contract import Batch, Given, Loss, Progress, Spec
from genctl.errors import GenctlError
from genctl.families.autoregressive._next import Next, SymbolConfig
from genctl.maths import decoding
from genctl.nets.pointer import Pointer
from genctl.nets.sides import LSTMs, Memory, Transformers
from genctl.nets.transformer import Activation, Norm
from genctl.powers import State

TOGETHER = 32  # rows of similar length that a CPU reads as one


class Seq2Seq(Next):
    """p(x | source) = prod_t p(x_t | x_1 .. x_{t-1}, source)."""

    class Config(SymbolConfig):
        network: Literal["transformer", "lstm"] = "transformer"
        """What both sides are made of. Keys of attention mean nothing to an lstm."""
        layers: int = Field(3, ge=1, le=64)
        """Layers that read the source."""
        writer_layers: int = Field(0, ge=0, le=64)
        """Layers that write; 0: as many."""
        heads: int = Field(4, ge=1, le=256)
        """Heads of attention; they divide the width."""
        width: int = Field(256, ge=2, le=65_536)
        """Dimensions of the vectors between the layers."""
        inner: int = Field(0, ge=0, le=1_000_000)
        """Units between the two layers of a block; 0: four times the width, 8/3 for swiglu."""
        dropout: float = Field(0.1, ge=0, lt=1)
        """Of the embeddings and of what each part of a block adds (Vaswani et al., section 5.4); of what each recurrent layer reads."""
        smoothing: float = Field(0.1, ge=0, lt=1)
        """The share of each target that is spread over all symbols, in training alone: a held-out loss is in nats."""
        positions: Literal["rotary", "learned", "relative"] = "rotary"
        """Turn queries and keys of one side by their position, add a learned vector for each position, or a number for each distance (T5)."""
        qk_norm: bool = True
        """Normalise queries and keys."""
        activation: Activation = "relu2"
        """Between the two layers of a block."""
        norm: Norm = "layer"
        """Bring vectors to one size about their mean (layer) or about zero (rms)."""
        begin: int | None = Field(None, ge=0)
        """The symbol whose vector stands before the first one that is written; none: a vector of its own is learned."""
        tied: bool = True
        """The output layer is the embedding, transposed; where both sides have one vocabulary, they have one embedding."""

        pointer: bool = False
        """A symbol may also be copied from the source, which helps where texts share rare words: titles, summaries, repairs."""

    net: Transformers | LSTMs

    def __init__(self, config: Config, spec: Spec) -> None:
        source, width = spec.given.get("source"), config.width
        if source is None or source.kind != "tokens":
            raise GenctlError("config", "seq2seq needs a row of symbols 'source' beside each x", "data: {name: text-pairs, path: ...}")
        if width % config.heads or (width // config.heads) % 2:
            raise GenctlError("config", f"model.heads: {config.heads} heads do not divide width {width} into even parts")
        super().__init__(config, spec, width, front=())
        self.conditions, self.source_end = ("source",), source.end
        one = config.tied and (source.vocab, source.codec) == (spec.vocab, spec.codec)
        self.embed_source = None if one else nn.Embedding(source.vocab, width)
        if self.embed_source is not None:
            nn.init.normal_(self.embed_source.weight, std=0.02)
        layers = (config.layers, config.writer_layers or config.layers)
        if config.network == "lstm":
            self.net = LSTMs(width, layers, config.dropout)
        else:
            keys = {k: getattr(config, k) for k in ("qk_norm", "activation", "norm", "inner", "dropout")}
            keys |= {"rotary": config.positions == "rotary", "relative": config.positions == "relative"}
            self.net = Transformers(width, layers, config.heads, (source.size, spec.size), **keys)
        self.finish(width)
        if config.pointer and (source.vocab, source.codec) != (spec.vocab, spec.codec):
            raise GenctlError("config", "model.pointer: a source of other symbols cannot be copied from", "model.pointer=false")
        self.pointer = Pointer(width) if config.pointer else None

    def units(self) -> list[nn.Module]:
        return self.net.blocks

    # --- the network ---

    def read(self, source: Tensor) -> Memory:
        """A source (B, M) as what the writer looks at; what stands behind its end is not."""
        seen = live(source, self.source_end)
        h = (self.embed if self.embed_source is None else self.embed_source)(source)
        if self.pointer is None:
            return self.net.read(h, seen)
        memory = self.net.read(h, seen, keep=True)
        return memory | self.pointer.remember(memory.pop("vectors"), source)

    def written(self, x: Tensor, given: Given | None, seen: Tensor | None = None) -> tuple[Tensor, Memory]:
        """(what each symbol of x is scored from, as `hidden` has it; what was read)."""
        e, memory = self.embed(x[:, :-1]), self.read((given or {})["source"].flatten(1))
        h = torch.cat([self.front(len(x), None), e if seen is None else e * seen[:, :-1, None]], 1)
        return self.net(h, memory), memory

    def hidden(self, x: Tensor, given: Given | None, seen: Tensor | None = None) -> Tensor:
        return self.written(x, given, seen)[0]

    def said(self, h: Tensor, memory: Memory) -> Tensor:
        """(B, S, V) logits of the symbol behind each vector h (B, S, width)."""
        logits = self.score(h)
        return logits if self.pointer is None else self.pointer(h, logits, memory)

    def logits(self, x: Tensor, given: Given | None) -> Tensor:
        return self.said(*self.written(x, given))

    def parts(self, batch: Batch) -> Iterator[tuple[Tensor, Batch, Tensor]]:
        """(rows, them, which of their symbols count): rows of similar length, cut to the longest of them: the same numbers for less work."""
        x, source = batch.x.flatten(1), batch.given["source"].flatten(1)
        counts, seen = live(x, self.spec.end), live(source, self.source_end)
        long, wide = counts.sum(1), seen.sum(1)
        order = torch.argsort(long + wide, stable=True)
        for rows in order.split(TOGETHER) if x.device.type == "cpu" else (order,):
            t, m = int(long[rows].max()), int(wide[rows].max())
            yield rows, Batch(x=x[rows, :t], given={"source": source[rows, :m]}), counts[rows, :t]

    # --- the contract ---

    def loss(self, batch: Batch, at: Progress) -> Loss:
        """Nats per symbol, smoothed in training."""
        count = int(live(batch.x.flatten(1), self.spec.end).sum())
        total = sum(self.share(b, counts, 1 / count) for _, b, counts in self.parts(batch))
        return Loss(torch.as_tensor(total), weight=float(count))

    def share(self, b: Batch, counts: Tensor, weight: float) -> Tensor:
        """Scalar: the nats of the symbols that count, each times its weight."""
        h, memory = self.written(b.x, b.given)
        if self.pointer is None:
            return self.mean_nats(h[counts], b.x[counts], h.new_full((int(counts.sum()),), weight))
        smoothing = self.config.smoothing if self.training else 0.0
        return weight * self.pointer.nats(h, b.x, counts, self.score(h[counts]), memory, smoothing).sum()

    def nats(self, batch: Batch) -> Tensor:
        out = torch.zeros(batch.x.flatten(1).shape, device=self.device)
        for rows, b, counts in self.parts(batch):
            nats = F.cross_entropy(self.logits(b.x, b.given).transpose(1, 2), b.x, reduction="none")
            out[rows, : b.x.shape[1]] = nats * counts
        return out

    # --- powers ---

    def start(self, n: int, given: Given | None) -> tuple[Tensor, State]:
        """The source is read once: a state carries what was read."""
        source = (given or {})["source"].flatten(1)
        with torch.no_grad():
            memory = self.read(source[:, : int(live(source, self.source_end).sum(1).max())])
            h, state = self.net.extend(self.front(n, None), memory)
        return self.said(h[:, -1:], state)[:, 0], state

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        h, state = self.net.extend(self.embed(tokens), state)
        return self.said(h, state), state


def live(rows: Tensor, end: int | None) -> Tensor:
    """(B, T) True up to and including the first `end`, everywhere where nothing ends."""
    found = decoding.live(rows, end)
    return torch.ones_like(rows, dtype=torch.bool) if found is None else found
