"""What every set of lines has in common: each line of a text is an example, ended by a symbol of its own."""

from pydantic import Field
from torch import Tensor

from genctl.data import Dataset, holdout, tensors
from genctl.data._tokenise import TokeniseConfig, fit, padded, small
from genctl.errors import GenctlError

MAX_CELLS = 2**28  # rows live in memory


class LinesConfig(TokeniseConfig):
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
    """Lines as rows of symbols; empty lines are none. Raises GenctlError (data-empty, limit, and what fit raises)."""
    lines = [line for line in text.splitlines() if line]
    if not lines:
        raise GenctlError("data-empty", "the text has no line that is not empty")
    split = [index.tolist() for index in holdout(len(lines), config.valid, config.test, seed=config.split_seed)]
    coder = fit(config, lines, learn=[lines[i] for i in split[0]])
    rows = coder.encode(lines)
    length = config.length or max(map(len, rows)) + 1
    kept = [[rows[i] for i in part if len(rows[i]) < length] for part in split]
    if not all(kept):
        raise GenctlError("data-empty", f"no line of {len(lines):,} fits in data.length {length}", "data.length=0 takes all")
    if len(lines) * length > MAX_CELLS:
        raise GenctlError("limit", f"{len(lines):,} lines of {length:,} symbols: at most {MAX_CELLS:,} symbols", "a smaller data.length")
    left = sum(len(row) >= length for row in rows)
    notes = (f"warning[data-short]: {left:,} of {len(lines):,} lines are longer than data.length {length}: left out",) if left else ()
    train, valid, test = (tensors(padded(part, length, coder.end, small(coder.vocab)), prepare=Tensor.long) for part in kept)
    return Dataset(coder.spec(length), train.first(config.limit), valid, test, notes=notes)
