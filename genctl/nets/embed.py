"""What stands beside x as a row of vectors in front of a sequence.

Pictures as their patches: Dosovitskiy et al. 2021, https://arxiv.org/abs/2010.11929.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from genctl.contract import Spec

PATCH = 8  # pixels a side


class Reader(nn.Module):
    """One entry of `spec.given` as vectors (B, count, width): for each symbol, for each patch of a picture, or one for a row of numbers."""

    def __init__(self, spec: Spec, width: int) -> None:
        super().__init__()
        self.kind = spec.kind
        if spec.kind == "image":
            self.count = -(-spec.shape[1] // PATCH) * -(-spec.shape[2] // PATCH)
            self.embed: nn.Module = nn.Linear(spec.shape[0] * PATCH * PATCH, width)
        else:
            self.count = spec.size if spec.vocab else 1
            self.embed = nn.Embedding(spec.vocab, width) if spec.vocab else nn.Linear(spec.size, width)

    def forward(self, value: Tensor) -> Tensor:
        if self.kind == "image":
            height, wide = value.shape[-2:]
            rows = F.unfold(F.pad(value, (0, -wide % PATCH, 0, -height % PATCH)), PATCH, stride=PATCH).transpose(1, 2)
        else:
            flat = value.reshape(len(value), -1)
            rows = flat if self.kind == "tokens" else flat[:, None]
        out: Tensor = self.embed(rows)
        return out
