"""Joint energy model: a classifier that is an energy-based model as well: how likely x is with a label, and what its label is.

Grathwohl et al. 2020, Your classifier is secretly an energy based model and you should treat it like one, https://arxiv.org/abs/1912.03263:
the logits f_k(x) say p(x, k) ~ q(x) exp(f_k(x)), so that p(k | x) is their softmax and p(x) their log-sum-exp.
"""

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from genctl.contract import Batch, Loss, Progress, Spec
from genctl.families.energy.ebm import EBM


class JEM(EBM):
    """Trained on -log p(k | x) and, as any energy, on -log p(x)."""

    target = "label"

    class Config(EBM.Config):
        weight: float = Field(1.0, gt=0, le=1000)
        """Of the cross-entropy of the label."""
        conditional: bool = False
        """Draw given the class label, by the walk of training's chains."""

    def __init__(self, config: Config, spec: Spec) -> None:
        super().__init__(config, spec)
        self.labelled(config.conditional)

    def outputs(self, spec: Spec) -> int:
        """One for each class."""
        classes = self.labelled(True)
        self.conditions = ()
        return classes

    def tilt(self, y: Tensor, label: Tensor | None = None) -> Tensor:
        """log sum_k exp f_k(y) (B,), or f_k(y) of one label each."""
        said = self.said(y)
        return said.logsumexp(1) if label is None else said.gather(1, label[:, None])[:, 0]

    def learn(self, batch: Batch, at: Progress) -> Loss:
        logits, y = self.predict(batch), batch.given["label"]
        nats = F.cross_entropy(logits, y)
        inner = super().learn(batch, at).total
        return Loss(inner + self.config.weight * nats, energy=inner, label_nats=nats, accuracy=(logits.argmax(1) == y).float().mean())

    def predict(self, batch: Batch) -> Tensor:
        """Logits (B, classes) of p(label | x), of pictures at the middle of their levels."""
        levels = self.spec.levels
        x = batch.x.flatten(1)
        return self.said(((x * (levels - 1) + 0.5) / levels if levels else x).sub(self.shift).div(self.scale))
