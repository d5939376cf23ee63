"""Which symbol comes next: how rows are drawn, and what of the model's probabilities is left to draw from.

top_k: Fan et al. 2018, https://arxiv.org/abs/1805.04833; top_p: Holtzman et al. 2020, https://arxiv.org/abs/1904.09751; min_p: Nguyen et al.
2024, https://arxiv.org/abs/2407.01082; typical: Meister et al. 2023, https://arxiv.org/abs/2202.00666; repetition: Keskar et al. 2019,
https://arxiv.org/abs/1909.05858, section 4.1; length_penalty: Wu et al. 2016, https://arxiv.org/abs/1609.08144, equation 14.
"""

import math
from typing import Annotated

import torch
from pydantic import Field, field_validator
from torch import Tensor

from genctl import contract
from genctl.maths import noise, patterns


class Draw(contract.Draw):
    """How rows of symbols are drawn."""

    temperature: float = Field(1.0, ge=0, le=100)
    """Divides the logits; 0 takes the likeliest symbol."""
    top_k: int = Field(0, ge=0, le=1_000_000)
    """Draw among the k likeliest symbols only; 0: all."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Draw among the fewest symbols that hold this share of the probability."""
    min_p: float = Field(0.0, ge=0, lt=1)
    """Draw among symbols at least this share as likely as the likeliest; 0: all."""
    typical: float = Field(1.0, gt=0, le=1)
    """Draw among the fewest symbols that hold this share of the probability, those first whose surprise is nearest to what is expected."""
    repetition: float = Field(1.0, ge=1, le=100)
    """Divides the logits, where they are positive, of symbols that stand in the row already, and multiplies the others; 1: none."""
    beams: int = Field(1, ge=1, le=256)
    """Keep so many likeliest beginnings and answer with the likeliest whole; nothing is random then."""
    length_penalty: float = Field(0.0, ge=0, le=10)
    """Beams compare log p / ((5 + length) / 6)^this, so that short rows do not win for being short (Wu et al. 2016, eq. 14); 0: log p."""
    stop: list[Annotated[str, Field(min_length=1, max_length=1000)]] = Field(default_factory=list, max_length=16)
    """Texts that end a row: it is shown up to the first of them, and nothing is drawn behind it."""
    pattern: str = Field("", max_length=10_000)
    """A regular expression that the text drawn must match as a whole (genctl/maths/patterns.py says which); empty: none."""
    length: int = Field(0, ge=0, le=1_000_000)
    """Symbols in a row; 0: as many as in the data. Longer rows are read through a sliding window."""
    strict: bool = False
    """Refuse a prompt longer than the model sees, instead of going on from its end."""

    @field_validator("pattern")
    @classmethod
    def _is_regular(cls, pattern: str) -> str:
        return patterns.check(pattern)


def choose(logits: Tensor, draw: Draw) -> Tensor:
    """(B, V) -> (B,): one symbol for each row."""
    if draw.temperature == 0:
        return logits.argmax(-1)
    return noise.categorical(narrow(logits / draw.temperature if draw.temperature != 1 else logits, draw))


def narrow(logits: Tensor, draw: Draw) -> Tensor:
    """-inf for all but what top_k, top_p, min_p and typical keep, each of what is left by the one before. One symbol is always kept."""
    if draw.top_k and draw.top_k < logits.shape[-1]:
        best, index = logits.topk(draw.top_k)
        logits = torch.full_like(logits, -torch.inf).scatter(-1, index, best)
    if draw.top_p < 1:
        logits = fewest(logits, -logits, draw.top_p)
    if draw.min_p:
        logits = logits.masked_fill(logits < logits.amax(-1, keepdim=True) + math.log(draw.min_p), -torch.inf)
    if draw.typical < 1:
        nats = -logits.log_softmax(-1)
        expected = (nats.exp().reciprocal() * nats.nan_to_num(posinf=0.0)).sum(-1, keepdim=True)
        logits = fewest(logits, (nats - expected).abs(), draw.typical)
    return logits


def fewest(logits: Tensor, rank: Tensor, share: float) -> Tensor:
    """-inf for all but the fewest symbols, those of low rank first, that hold a share of the probability."""
    index = rank.argsort(-1)
    ordered = logits.gather(-1, index)
    p = ordered.softmax(-1)
    beyond = p.cumsum(-1) - p >= share  # the symbols before it hold the share already; the first never is
    beyond[..., 0] = False
    return torch.empty_like(logits).scatter(-1, index, ordered.masked_fill(beyond, -torch.inf))


def worn(logits: Tensor, used: Tensor, penalty: float) -> Tensor:
    """(B, V) less likely where a symbol was `used` (B, V)."""
    return torch.where(used, torch.where(logits > 0, logits / penalty, logits * penalty), logits)
