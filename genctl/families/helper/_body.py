"""What stands on a language model: the model inside, pretrained or not, and a text as one vector."""

from dataclasses import replace
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from genctl.config import Settings
from genctl.contract import Batch, Model, Part, Spec
from genctl.errors import GenctlError
from genctl.maths import noise
from genctl.maths.decoding import live
from genctl.powers import Context


class BodyConfig(Settings):
    """The keys that all of them take."""

    body: Part = Field(default_factory=lambda: Part(family="bert"))
    """The model that reads: bert, gpt, rnn or lstm; {path: CKPT} takes one that is trained."""
    frozen: bool = False
    """The body stays as it is; what stands on it is trained alone."""
    pool: Literal["mean", "max", "first", "last", "attend"] = "mean"
    """The vector of a text: the mean or maximum over its symbols, that of one, or a mean with learned weights."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Of the vectors, before what stands on them."""
    symbol_dropout: float = Field(0.0, ge=0, lt=1)
    """Symbols that are not looked at in training."""


class OnBody(Model):
    """A Model with a body that has the power `context`."""

    kinds = frozenset({"tokens"})

    def __init__(self, config: BodyConfig, spec: Spec) -> None:
        super().__init__(config, spec)
        self.body = config.body.build(spec)
        if not isinstance(self.body, Context) or self.body.conditions:
            raise GenctlError("config", f"model.body: family '{config.body.family}' does not read texts", "bert, gpt, rnn or lstm")
        known = self.body.spec
        if (known.vocab, known.codec) != (spec.vocab, spec.codec) or known.end not in (None, spec.end):
            raise GenctlError("config", "model.body: it was trained on other symbols than those of this data", "the same data.tokenizer")
        if known.size < spec.size:
            raise GenctlError("config", f"model.body reads {known.size} symbols, these rows have {spec.size}", f"data.length={known.size}")
        self.body.spec = replace(known, end=spec.end)  # a model of running text knows no end
        for p in self.body.parameters() if config.frozen else self.body.idle():
            p.requires_grad_(False)
        self.attend = nn.Linear(self.body.width, 1) if config.pool == "attend" else None

    def units(self) -> list[nn.Module]:
        return self.body.units()

    def trim(self, x: Tensor) -> Tensor:
        """Rows (B, T) as long as the longest of them needs."""
        alive = live(x, self.spec.end)
        return x if alive is None else x[:, : int(alive.any(0).sum())]

    def vectors(self, x: Tensor) -> Tensor:
        """(B, T, width) of symbols (B, T)."""
        seen = None
        if self.training and self.config.symbol_dropout:
            whole = noise.rand(len(x), self.spec.size, device=x.device)  # of rows of one length, however they were cut
            seen = whole[:, : x.shape[1]] >= self.config.symbol_dropout
        if self.config.frozen:
            self.body.eval()
        return F.dropout(self.body.context(Batch(x=x), seen), self.config.dropout, self.training)

    def pooled(self, h: Tensor, x: Tensor) -> Tensor:
        """(B, width) of vectors (B, T, width)."""
        alive = live(x, self.spec.end)
        alive = torch.ones_like(x, dtype=torch.bool) if alive is None else alive
        if self.config.pool == "first":
            return h[:, 0]
        if self.config.pool == "last":
            return h[torch.arange(len(h)), alive.sum(1) - 1]
        if self.config.pool == "max":
            return h.masked_fill(~alive[..., None], -torch.inf).amax(1)
        score = torch.zeros_like(h[..., 0]) if self.attend is None else self.attend(h)[..., 0]
        return (score.masked_fill(~alive, -torch.inf).softmax(1)[..., None] * h).sum(1)
