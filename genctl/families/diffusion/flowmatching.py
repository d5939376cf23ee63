"""Flow matching: a velocity field that carries noise to data along straight lines.

Lipman et al. 2023, https://arxiv.org/abs/2210.02747; Liu, Gong and Liu 2023 (rectified flow), https://arxiv.org/abs/2209.03003; pairing
noise and data within a batch by optimal transport: Tong et al. 2024, https://arxiv.org/abs/2302.00482; times drawn by a normal's
logit: Esser et al. 2024, https://arxiv.org/abs/2403.03206.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from genctl.contract import Batch, Progress
from genctl.families.diffusion._diffusion import Scaling
from genctl.families.diffusion._likely import Likely, LikelyConfig
from genctl.maths import noise, ranks
from genctl.maths.schedules import normal

EDGE = 1e-3  # the time that is nearest to data, and to noise


class FlowMatching(Likely):
    """x_t = (1 - t) x_0 + t eps, so s = t / (1 - t); the network guesses eps - x_0."""

    class Config(LikelyConfig):
        coupling: Literal["independent", "ot"] = "independent"
        """ot: each batch pairs its noise with its data so that the squares of their distances sum to the least. On data without a
        class or text; with one, the pairs would tell it."""
        times: Literal["uniform", "normal"] = "uniform"
        """How t is drawn in training: evenly, or a normal's logit, which looks more at the middle."""
        shift: float = Field(1.0, gt=0, le=100)
        """s of a draw times this: more steps at more noise, for larger pictures (Esser et al. 2024, eq. 23)."""

    def scaling(self, s: Tensor) -> Scaling:
        left = 1 / (1 + s)  # 1 - t
        return Scaling(left, left, -s * left)

    def noise_at(self, u: Tensor) -> Tensor:
        if self.config.times == "normal":
            return torch.exp(normal(u))
        t = EDGE + (1 - 2 * EDGE) * u
        return t / (1 - t)

    def clock(self, s: Tensor) -> Tensor:
        return 1000 * s / (1 + s)

    def ladder(self, steps: int) -> list[float]:
        times = [1 - EDGE - (1 - 2 * EDGE) * k / steps for k in range(steps)]
        return [self.config.shift * t / (1 - t) for t in times]

    def standardise(self, batch: Batch, at: Progress) -> Batch:
        """And noise beside x, which pairs with it."""
        batch = super().standardise(batch, at)
        if self.config.coupling == "independent":
            return batch
        from scipy.optimize import linear_sum_assignment

        x, eps = ranks.gather(self.to_line(batch.x)), ranks.gather(noise.randn(*batch.x.shape, device=batch.x.device))
        _, order = linear_sum_assignment(torch.cdist(x.flatten(1), eps.flatten(1)).square().cpu().numpy())
        paired = ranks.own(eps[torch.from_numpy(order).to(eps.device)], len(batch))
        return Batch(x=batch.x, given={**batch.given, "eps": paired}, mask=batch.mask)

    def noise_for(self, batch: Batch) -> Tensor:
        return batch.given["eps"] if "eps" in batch.given else super().noise_for(batch)
