"""Two networks: one reads a source to both sides of each place, the other goes on symbol by symbol and looks at what was read.

Of attention alone: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762. Recurrent: Sutskever et al. 2014, https://arxiv.org/abs/1409.3215,
with the attention of Luong et al. 2015, https://arxiv.org/abs/1508.04025 (global, general score, eq. 5 and 8).
A memory is what `read` makes of a source: a dict of batch-first tensors, with which a state begins.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genctl.nets.recurrent import Recurrent
from genctl.nets.transformer import Transformer

Memory = dict[str, Tensor]
LOUDER = 50.0  # embeddings begin with a deviation of 0.02, which gates of a recurrent cell would hardly hear


class Transformers(nn.Module):
    """lengths: the most vectors of a source and of a target; `how`: keys of Transformer."""

    def __init__(self, width: int, layers: tuple[int, int], heads: int, lengths: tuple[int, int], **how: Any) -> None:
        super().__init__()
        self.reader = Transformer(width, layers[0], heads, lengths[0], causal=False, attention=False, **how)
        self.writer = Transformer(width, layers[1], heads, lengths[1], cross=True, attention=False, **how)

    def read(self, h: Tensor, seen: Tensor, keep: bool = False) -> Memory:
        """h (B, M, width), of which those `seen` (B, M) are looked at; keep: with the `vectors` (B, M, width) that they became."""
        vectors = self.reader(h, seen)
        return self.writer.remember(vectors, seen) | ({"vectors": vectors} if keep else {})

    def forward(self, h: Tensor, memory: Memory) -> Tensor:
        """Vectors (B, S, width) to vectors of the same shape, each a function of the memory, itself and those before it."""
        out: Tensor = self.writer(h, memory=memory)
        return out

    def extend(self, h: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The same for S new vectors behind those that `state` has read, at first a memory; the state after them. Carries no gradient."""
        return self.writer.extend(h, state)

    @property
    def blocks(self) -> list[nn.Module]:
        return [*self.reader.blocks, *self.writer.blocks]


class LSTMs(nn.Module):
    """The reader runs both ways; what it ends with is what the writer begins with."""

    def __init__(self, width: int, layers: tuple[int, int], dropout: float) -> None:
        super().__init__()
        self.dropout, self.layers = dropout, layers
        self.reader = nn.LSTM(width, width // 2, layers[0], batch_first=True, dropout=dropout if layers[0] > 1 else 0.0, bidirectional=True)
        self.writer = Recurrent([width] * (layers[1] + 1), dropout)
        self.bridge = nn.Linear(2 * width, 2 * layers[1] * width)
        self.score = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(2 * width, width, bias=False)

    def read(self, h: Tensor, seen: Tensor, keep: bool = False) -> Memory:
        h = F.dropout(LOUDER * h, self.dropout, self.training)
        lengths = seen.sum(1).cpu()  # what is seen stands in front
        packed = nn.utils.rnn.pack_padded_sequence(h, lengths, batch_first=True, enforce_sorted=False)
        found, (last, cell) = self.reader(packed)
        vectors, _ = nn.utils.rnn.pad_packed_sequence(found, batch_first=True, total_length=h.shape[1])
        ends = torch.cat([last[-2], last[-1], cell[-2], cell[-1]], 1)  # of the last layer, both ways
        begin = torch.tanh(self.bridge(ends)).chunk(2 * self.layers[1], 1)
        state = {f"{'hc'[i % 2]}{i // 2}": v for i, v in enumerate(begin)}
        return {"memory": vectors, "keys": self.score(vectors), "seen": seen, **state} | ({"vectors": vectors} if keep else {})

    def look(self, h: Tensor, memory: Memory) -> Tensor:
        """Luong et al., eq. 5: what is read and what is found there, through one layer."""
        found = F.scaled_dot_product_attention(h, memory["keys"], memory["memory"], memory["seen"][:, None])
        out = torch.tanh(self.out(torch.cat([found, h], -1)))
        return F.dropout(out, self.dropout, self.training)

    def forward(self, h: Tensor, memory: Memory) -> Tensor:
        return self.look(self.writer(LOUDER * h, memory), memory)

    def extend(self, h: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        with torch.no_grad():
            h, after = self.writer.extend(LOUDER * h, state)
            return self.look(h, state), {**state, **after}

    @property
    def blocks(self) -> list[nn.Module]:
        return [self.reader, *self.writer.layers]
