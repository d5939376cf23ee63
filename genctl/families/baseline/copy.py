"""Copy: hands back the picture that it is to translate or restore, enlarged if it must be; what doing nothing scores, under every metric."""

import torch
from torch import Tensor

from genctl import contract
from genctl.config import Settings
from genctl.contract import Batch, Family, Given, Loss, Player, Progress, Spec, Stage
from genctl.errors import GenctlError
from genctl.maths import filters


class Copy(Family):
    """x = the picture beside it, bicubic where x is larger, its grey for all colours or its colours as grey where they differ in number."""

    kinds = frozenset({"image"})
    still: Tensor

    def __init__(self, config: Settings, spec: Spec) -> None:
        super().__init__(config, spec)
        beside = [name for name, s in spec.given.items() if s.kind == "image"]
        if len(beside) != 1:
            raise GenctlError("config", "copy needs one picture beside each, 'source' or 'other'", "data: {name: spoiled, ...}")
        self.conditions = (beside[0],)
        self.scale = max(1, spec.shape[1] // spec.given[beside[0]].shape[1])
        self.register_buffer("still", torch.zeros(()))  # where a model's tensors are is asked of its first one

    def copy(self, x: Tensor) -> Tensor:
        """(B, C, H, W) of any height and width."""
        c = self.spec.shape[0]
        if x.shape[1] != c:
            x = (filters.grey(x) if x.shape[1] == 3 else x).expand(-1, c, -1, -1)
        return filters.bicubic(x, self.scale).clamp(0, 1) if self.scale > 1 else x

    def loss(self, batch: Batch, at: Progress) -> Loss:
        """The mean distance to the counterpart."""
        x = self.copy(batch.given[self.conditions[0]])
        return Loss((x - batch.x).abs().mean() if x.shape == batch.x.shape else x.new_zeros(()))

    def stages(self) -> list[Stage]:
        return [Stage(name="train", players=[Player(name="nobody", params=[], loss=self.loss)])]

    def sample(self, n: int, draw: contract.Draw, given: Given | None = None) -> Tensor:
        x = self.copy((given or {})[self.conditions[0]])
        return (x > 0.5).float() if self.spec.levels == 2 else x
