"""A symbol is written from the vocabulary or copied from a source: See et al. 2017, https://arxiv.org/abs/1704.04368, section 2.2."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEAST = torch.finfo(torch.float32).tiny  # of a probability


class Pointer(nn.Module):
    """p(y) = g p_vocabulary(y) + (1 - g) times the attention to the places of the source that hold y (eq. 9)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.gate = nn.Linear(width, 1)

    def remember(self, vectors: Tensor, source: Tensor) -> dict[str, Tensor]:
        """What belongs into a memory: source (B, M) and the vectors (B, M, width) that it was read as, to be pointed at."""
        return {"places": self.key(vectors), "source": source}

    def looks(self, h: Tensor, memory: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """(attention (B, S, M) of vectors h (B, S, width) to the places, the logit of g (B, S))."""
        scores = self.query(h) @ memory["places"].transpose(1, 2) / h.shape[-1] ** 0.5
        return scores.masked_fill(~memory["seen"][:, None], -torch.inf).float().softmax(-1), self.gate(h)[..., 0].float()

    def forward(self, h: Tensor, logits: Tensor, memory: dict[str, Tensor]) -> Tensor:
        """log p (B, S, V) of the symbol behind each vector h (B, S, width), of which logits (B, S, V) say what the vocabulary would have."""
        looks, gate = self.looks(h, memory)
        g, at = gate.sigmoid()[..., None], memory["source"][:, None].expand_as(looks)
        p = (g * F.softmax(logits, -1, dtype=torch.float32)).scatter_add(2, at, (1 - g) * looks)
        out: Tensor = p.clamp(min=LEAST).log()
        return out

    def nats(self, h: Tensor, y: Tensor, counts: Tensor, logits: Tensor, memory: dict[str, Tensor], smoothing: float = 0.0) -> Tensor:
        """(N,) -log p of those y (B, S) that count, whose logits are (N, V); smoothing is of what the vocabulary would have alone.

        The same as by `forward`, for less work.
        """
        looks, gate = self.looks(h, memory)
        copied = (looks * (memory["source"][:, None] == y[..., None])).sum(-1)[counts]
        gate, y, logits = gate[counts], y[counts], logits.float()
        log_z = logits.logsumexp(-1)
        written = logits.gather(1, y[:, None])[:, 0] - log_z
        log_p = torch.logaddexp(F.logsigmoid(gate) + written, F.logsigmoid(-gate) + copied.clamp(min=LEAST).log())
        return -(1 - smoothing) * log_p + (smoothing * (log_z - logits.mean(-1)) if smoothing else 0.0)
