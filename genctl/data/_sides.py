"""What every set of pairs of texts has in common: x is the target as a row that ends, `source` beside it, both in the symbols of one tokeniser.

A source that does not fit is cut. A target that does not fit is left out of the training part, since a text cut short would teach to stop
short; held out, it is cut for likelihoods alone: `Split.said` keeps every text whole.
"""

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field
from torch import Tensor

from genctl.contract import Spec
from genctl.data import Dataset, Split, tensors
from genctl.data._cells import lines
from genctl.data._tokenise import Coder, TokeniseConfig, Way, fit, padded, small
from genctl.errors import GenctlError, safe_text

MAX_CELLS = 2**28  # rows live in memory
Pair = tuple[str, tuple[str, ...]]  # a source, and what may stand for it; x is the first
PARTS = ("training", "validation", "test")


class SidesConfig(TokeniseConfig):
    """The keys that they take."""

    tokenise: Way = "bpe"
    """A symbol is a character, a byte of UTF-8, a word with the space before it, or a piece of a word as long as it is frequent."""
    vocab: int = Field(8192, ge=0, le=1_000_000)
    """How many symbols to learn of both sides together, of words the most frequent ones; 0: 4096, and every word."""
    length: int = Field(0, ge=0, le=10_000)
    """Symbols of a target, the end counted; 0: as many as the longest needs."""
    source_length: int = Field(0, ge=0, le=10_000)
    """Symbols of a source, the end counted; 0: as many as the longest needs."""


def dataset(config: SidesConfig, parts: Sequence[Sequence[Pair]]) -> Dataset:
    """parts: to train on, to validate and to test with. Raises GenctlError (data-empty, data-bad, limit, and what fit raises)."""
    check(parts)
    texts = [[t for source, targets in part for t in (source, *targets)] for part in parts]
    coder = fit(config, [t for part in texts for t in part], learn=texts[0])
    rows = [[coder.encode([pair[0] for pair in part]), coder.encode([pair[1][0] for pair in part])] for part in parts]
    wide, long = (max(len(row) for part in rows for row in part[side]) + 1 for side in (0, 1))
    wide, long = config.source_length or wide, config.length or long
    n = sum(map(len, parts))
    if n * (wide + long) > MAX_CELLS:
        what = f"{n:,} pairs of {wide:,} and {long:,} symbols: at most {MAX_CELLS:,} symbols"
        raise GenctlError("limit", what, "a smaller data.length or data.source_length")
    kept = [i for i, row in enumerate(rows[0][1]) if len(row) < long]
    if not kept:
        raise GenctlError("data-empty", f"no target of {len(parts[0]):,} fits in data.length {long}", "data.length=0 takes all")
    notes = tuple(
        f"warning[data-short]: {count:,} of {of:,} {what}"
        for count, of, what in (
            (len(parts[0]) - len(kept), len(parts[0]), f"training targets are longer than data.length {long}: left out"),
            (sum(len(r) >= wide for p in rows for r in p[0]), n, f"sources are longer than data.source_length {wide}: cut"),
        )
        if count
    )
    chosen = [kept, *(list(range(len(part))) for part in parts[1:])]
    train, valid, test = (
        split(coder, [p[i] for i in at], [[side[i] for i in at] for side in r], wide, long)
        for p, r, at in zip(parts, rows, chosen, strict=True)
    )
    source = Spec(shape=(wide,), vocab=coder.vocab, end=coder.end, media="text", codec=coder.codec)
    return Dataset(coder.spec(long, given={"source": source}), train.first(config.limit), valid, test, notes=notes)


def split(coder: Coder, pairs: Sequence[Pair], rows: list[list[list[int]]], wide: int, long: int) -> Split:
    """Rows of sources and of targets, held in small integers; the texts beside them."""
    source, x = (padded(side, size, coder.end, small(coder.vocab)) for side, size in zip(rows, (wide, long), strict=True))
    held = tensors(x, {"source": source})
    return Split(len(held), lambda index: held.get(index).map(Tensor.long), held.fingerprint, list(pairs))


def check(parts: Sequence[Sequence[Pair]]) -> None:
    """Raises GenctlError (data-empty, data-bad) where there are no pairs, or a side of one is empty."""
    for name, part in zip(PARTS, parts, strict=True):
        if not part:
            raise GenctlError("data-empty", f"no {name} pairs")
        empty = [
            i for i, (source, targets) in enumerate(part, 1) if not source.strip() or not targets or not all(t.strip() for t in targets)
        ]
        if empty:
            what = f"{len(empty):,} of {len(part):,} {name} pairs have an empty side, the first is pair {empty[0]:,}"
            raise GenctlError("data-bad", what, "leave them out")


def aligned(source: Path, target: Path) -> list[Pair]:
    """Pairs of two files with a line for each. Raises GenctlError (data-mismatch, and what `lines` raises)."""
    a, b = lines(source), lines(target)
    if len(a) != len(b):
        what = f"{safe_text(source.name)} has {len(a):,} lines, {safe_text(target.name)} has {len(b):,}"
        raise GenctlError("data-mismatch", what, "a line of one belongs to the same line of the other")
    return [(one.strip(), (other.strip(),)) for one, other in zip(a, b, strict=True)]
