"""A symbol is written from the vocabulary or copied from a source: See et al. 2017, https://arxiv.org/abs/1704.04368, section 2.2."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Pointer(nn.Module):
    """p(y) = g p_vocabulary(y) + (1 - g) times the attention to the places of the source that hold y (eq. 9)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.gate = nn.Linear(width, 1)

    def remember(self, vectors: Tensor, source: Tensor) -> dict[str, Tensor]:
        """What belongs into a memory: source (B, M) and the vectors (B, M, width) that it was read as, to be pointed at."""
        return {"places": self.key(vectors), "source": source}

    def forward(self, h: Tensor, logits: Tensor, memory: dict[str, Tensor]) -> Tensor:
        """log p (B, S, V) of the symbol behind each vector h (B, S, width), of which logits (B, S, V) say what the vocabulary would have."""
        scores = self.query(h) @ memory["places"].transpose(1, 2) / h.shape[-1] ** 0.5
        looks = scores.masked_fill(~memory["seen"][:, None], -torch.inf).float().softmax(-1)
        g = self.gate(h).float().sigmoid()
        at = memory["source"][:, None].expand(-1, h.shape[1], -1)
        p = (g * F.softmax(logits, -1, dtype=torch.float32)).scatter_add(2, at, (1 - g) * looks)
        out: Tensor = p.clamp(min=torch.finfo(torch.float32).tiny).log()
        return out
