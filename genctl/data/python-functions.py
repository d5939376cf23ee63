"""Python functions: those of the standard library of the Python that runs this, one an example, moved to the left margin.

Which they are depends on the version of Python; the fingerprint says when two machines differ. Split by file (genctl/data/_functions.py).
"""

from typing import Literal

from pydantic import Field
from torch import Tensor

from genctl.data import Dataset, tensors
from genctl.data._functions import parts
from genctl.data._tokenise import TokeniseConfig, Way, fit, padded, small
from genctl.errors import GenctlError


class Config(TokeniseConfig):
    name: Literal["python-functions"] = "python-functions"
    """Functions of Python's standard library."""
    path: str | None = None
    """A folder of .py files to take instead."""
    tokenise: Way = "bpe"
    """A symbol is a character, a byte of UTF-8, a word with the space before it, or a piece of a word as long as it is frequent."""
    vocab: int = Field(1024, ge=0, le=1_000_000)
    """How many symbols to learn."""
    length: int = Field(256, ge=8, le=100_000)
    """Symbols in a row, the end counted; longer functions are left out."""


def open(config: Config) -> Dataset:
    """Raises GenctlError: no-input, data-empty."""
    found = parts(config.name, config.path)
    coder = fit(config, [f for part in found for f in part], learn=found[0])
    rows = [[row for row in coder.encode(part) if len(row) < config.length] for part in found]
    if not all(rows):
        raise GenctlError("data-empty", f"no function of a split fits in data.length {config.length}", "a larger data.length")
    train, valid, test = (tensors(padded(part, config.length, coder.end, small(coder.vocab)), prepare=Tensor.long) for part in rows)
    return Dataset(coder.spec(config.length), train.first(config.limit), valid, test)
