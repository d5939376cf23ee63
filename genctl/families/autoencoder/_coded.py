"""A family whose codes another family learns: first codes and back, then, with these fixed, a prior over the codes.

Any family that models what `code` says can be the prior: a mixture or a flow for rows of numbers, a pixelcnn or gpt for symbols.
"""

from abc import abstractmethod
from dataclasses import replace
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from genctl import contract
from genctl.config import Settings
from genctl.contract import Batch, Family, Given, Part, Player, Spec, Stage
from genctl.errors import GenctlError


class CodedConfig(Settings):
    """The keys that they take."""

    prior: Part
    """The family that learns the codes: `{family: ..., model: {...}}`."""
    prior_share: float = Field(0.3, gt=0, lt=1)
    """The share of training, at its end, in which it does."""


class Coded(Family):
    """x = decode(z), z drawn from the prior."""

    code: Spec

    class Draw(contract.Draw):
        prior: dict[str, Any] = Field(default_factory=dict)
        """How the prior draws: its own keys."""

    def build_prior(self) -> None:
        """Called last in `__init__`, when `self.code` is known. Raises GenctlError (config) when the family cannot model the codes."""
        second = self.config.prior.build(replace(self.code, given=self.spec.given))
        if not isinstance(second, Family):
            raise GenctlError("config", f"model.prior: family '{self.config.prior.family}' cannot be sampled from")
        self.second = second
        self.conditions = second.conditions

    @abstractmethod
    def first(self) -> Player:
        """Who learns codes and back."""

    @abstractmethod
    def encode(self, batch: Batch) -> Tensor:
        """(B, *code.shape)."""

    @abstractmethod
    def decode(self, code: Tensor, given: Given | None = None) -> Tensor:
        """(B, *spec.shape)."""

    # --- the contract ---

    def stages(self) -> list[Stage]:
        share = self.config.prior_share
        own = Stage(name="codes", players=[self.first()], share=1 - share)
        inner = self.second.stages()
        whole = sum(s.share for s in inner)
        later = [
            replace(s, name=f"prior {s.name}", share=share * s.share / whole, feed=lambda batch, at, s=s: s.feed(self.coded(batch), at))
            for s in inner
        ]
        return [own, *later]

    def coded(self, batch: Batch) -> Batch:
        """The batch with codes for x, by the networks as they are used."""
        was = self.training
        self.eval()
        with torch.no_grad():
            code = self.encode(batch)
        self.train(was)
        return Batch(x=code, given=batch.given)

    def sample(self, n: int, draw: Draw, given: Given | None = None) -> Tensor:
        return self.decode(self.prior(n, given, draw), given)

    # --- powers ---

    def prior(self, n: int, given: Given | None = None, draw: Draw | None = None) -> Tensor:
        """(n, *code.shape) as the prior draws them."""
        asked = self.second.Draw.model_validate({**(draw.prior if draw else {}), "chunk": n})
        return self.second.sample(n, asked, given)
