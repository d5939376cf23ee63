"""What stands beside x as a row of vectors in front of a sequence."""

from torch import Tensor, nn

from genctl.contract import Spec


class Reader(nn.Module):
    """One entry of `spec.given` as vectors (B, count, width): one for each symbol, or one for a whole row of numbers."""

    def __init__(self, spec: Spec, width: int) -> None:
        super().__init__()
        self.count = spec.size if spec.vocab else 1
        self.embed: nn.Module = nn.Embedding(spec.vocab, width) if spec.vocab else nn.Linear(spec.size, width)
        self.symbols = bool(spec.vocab)

    def forward(self, value: Tensor) -> Tensor:
        flat = value.reshape(len(value), -1)
        out: Tensor = self.embed(flat if self.symbols else flat[:, None])
        return out
