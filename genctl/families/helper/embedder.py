"""Embedder: texts as vectors, near each other where texts mean nearly the same; on a language model.

Reimers and Gurevych 2019 (Sentence-BERT), https://arxiv.org/abs/1908.10084. Three ways to learn what is near: from how alike people find two texts
(their cosine is to be that); from classes (Khosla et al. 2020, https://arxiv.org/abs/2004.11362); or from nothing, the same text read twice with
other units dropped (Gao et al. 2021, SimCSE, https://arxiv.org/abs/2104.08821).
"""

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from genctl.contract import Batch, Loss, Progress, Spec
from genctl.errors import GenctlError
from genctl.families.helper._body import BodyConfig, OnBody
from genctl.maths import ranks


class Embedder(OnBody):
    """A vector of length one for each text."""

    class Config(BodyConfig):
        near: str = ""
        """What tells which texts are near: a class, or a number from 0 to 1 for x and `other`; '': a text is near itself alone."""
        temperature: float = Field(0.05, gt=0, le=10)
        """Divides the cosines of a contrast."""

    def __init__(self, config: Config, spec: Spec) -> None:
        super().__init__(config, spec)
        self.code = Spec(shape=(self.body.width,))
        near = spec.given.get(config.near)
        if config.near and (near is None or near.shape or (not near.vocab and "other" not in spec.given)):
            beside = ", ".join(spec.given) or "nothing"
            raise GenctlError("config", f"model.near: '{config.near}' is no class or number of pairs beside x; beside it: {beside}")
        self.graded = near is not None and not near.vocab

    def embed(self, x: Tensor) -> Tensor:
        x = self.trim(x.flatten(1))
        return F.normalize(self.pooled(self.vectors(x), x), dim=1)

    def encode(self, batch: Batch) -> Tensor:
        return self.embed(batch.x)

    def loss(self, batch: Batch, at: Progress) -> Loss:
        """The squared error of the cosine; or nats of a contrast with the other texts of the batch."""
        if self.graded:
            cosine = (self.embed(batch.x) * self.embed(batch.given["other"])).sum(1)
            return Loss(F.mse_loss(cosine, batch.given[self.config.near]))
        if self.config.near:
            return Loss(self.contrast(ranks.together(self.embed(batch.x)), ranks.gather(batch.given[self.config.near])))
        twice = torch.cat([ranks.together(self.embed(batch.x)) for _ in range(2)])
        return Loss(self.contrast(twice, torch.arange(len(twice) // 2, device=twice.device).repeat(2)))

    def contrast(self, z: Tensor, kind: Tensor) -> Tensor:
        """Khosla et al., eq. 2: -log p(a text of the same class | any other of the batch), the mean over those of the same class."""
        itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
        nats = -((z @ z.T / self.config.temperature).masked_fill(itself, -torch.inf)).log_softmax(1)
        near = (kind[:, None] == kind[None]) & ~itself
        each = nats.masked_fill(~near, 0.0).sum(1) / near.sum(1).clamp(min=1)
        return each.sum() / near.any(1).sum().clamp(min=1)
