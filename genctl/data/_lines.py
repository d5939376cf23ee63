"""What every set of lines has in common: each line of a text is an example, ended by a symbol of its own."""

import torch
from pydantic import Field
from torch import Tensor

from genctl.contract import Spec
from genctl.data import DataConfig, Dataset, holdout, tensors
from genctl.errors import GenctlError

MAX_SYMBOLS, MAX_CELLS = 8_000, 2**28  # the table of characters travels in every checkpoint's header; rows live in memory
END = 0


class LinesConfig(DataConfig):
    """The keys that they take."""

    length: int = Field(0, ge=0, le=100_000)
    """Symbols in a row, the end counted; longer lines are left out. 0: as many as the longest line needs."""
    valid: float = Field(0.1, ge=0, lt=1)
    """The share held out for validation."""
    test: float = Field(0.1, ge=0, lt=1)
    """The share held out for testing."""
    split_seed: int = Field(0, ge=0, lt=2**63)
    """The seed of what is held out."""


def dataset(config: LinesConfig, text: str) -> Dataset:
    """Lines of characters as rows of symbols; empty lines are none. Raises GenctlError (data-empty, limit)."""
    lines = [line for line in text.splitlines() if line]
    kept = [line for line in lines if not config.length or len(line) < config.length]
    if not kept:
        raise GenctlError("data-empty", f"no line of {len(lines):,} fits in data.length {config.length}", "data.length=0 takes all")
    known = sorted(set().union(*kept))
    length = config.length or max(map(len, kept)) + 1
    if len(known) > MAX_SYMBOLS or len(kept) * length > MAX_CELLS:
        what = f"{len(kept):,} lines of up to {length:,} symbols of {len(known):,} kinds"
        raise GenctlError("limit", f"{what}: at most {MAX_SYMBOLS:,} kinds and {MAX_CELLS:,} symbols", "a smaller data.length")
    left = len(lines) - len(kept)
    notes = (
        (f"warning[data-short]: {left:,} of {len(lines):,} lines are longer than data.length {config.length}: left out",) if left else ()
    )
    spec = Spec(shape=(length,), vocab=len(known) + 1, end=END, media="text", codec={"symbols": ["", *known]})
    x = rows(kept, {c: i + 1 for i, c in enumerate(known)}, length)
    train, valid, test = (tensors(x[i], prepare=Tensor.long) for i in holdout(len(x), config.valid, config.test, seed=config.split_seed))
    return Dataset(spec, train.first(config.limit), valid, test, notes=notes)


def rows(lines: list[str], number: dict[str, int], length: int) -> Tensor:
    """(N, length) of 16 bits, filled with the end symbol."""
    x = torch.full((len(lines), length), END, dtype=torch.int16)
    for i, line in enumerate(lines):
        x[i, : len(line)] = torch.tensor([number[c] for c in line], dtype=torch.int16)
    return x
