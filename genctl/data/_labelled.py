"""What every set of labelled texts has in common: each text is a row of symbols, and its class stands beside it."""

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor

from genctl.contract import Spec
from genctl.data import Dataset, Split, holdout, tensors
from genctl.data._tokenise import Coder, TokeniseConfig, Way, fit
from genctl.errors import GenctlError, safe_text

MAX_CELLS = 2**28  # rows live in memory
MAX_CLASSES = 10_000
Rows = list[tuple[str, str]]  # a text and its class


class ReadConfig(TokeniseConfig):
    """The keys of sets of texts that are read, not drawn."""

    tokenise: Way = "wordpiece"
    """A symbol is a character, a byte of UTF-8, a word with the space before it, or a piece of a word as long as it is frequent."""
    vocab: int = Field(8192, ge=0, le=1_000_000)
    """How many symbols to learn, of words the most frequent ones; 0: 4096, and every word."""
    lower: bool = True
    """Read text in small letters, each as if a space stood before it, so that a word is one symbol wherever it stands. Learned symbols only."""
    length: int = Field(0, ge=0, le=100_000)
    """Symbols in a row, the end counted; longer texts are cut. 0: as many as the longest needs."""


class SharesConfig(ReadConfig):
    """The keys of sets without a published split."""

    valid: float = Field(0.1, ge=0, lt=1)
    """The share held out for validation."""
    test: float = Field(0.1, ge=0, lt=1)
    """The share held out for testing."""
    split_seed: int = Field(0, ge=0, lt=2**63)
    """The seed of what is held out."""


def parts(rows: Rows, config: SharesConfig) -> list[Rows]:
    """Rows to train on, to validate and to test with."""
    return [[rows[i] for i in index.tolist()] for index in holdout(len(rows), config.valid, config.test, seed=config.split_seed)]


# --- to symbols --------------------------------------------------------------------------------------------------------------


def classes(split: Sequence[Sequence[str]], names: Sequence[str] = ()) -> list[str]:
    """The classes of the training part, in their order; `names`: those there may be. Raises GenctlError (data-format, limit)."""
    known = list(names) or sorted(set(split[0]))
    for said in split:
        if strange := sorted(set(said) - set(known)):
            where = f"expected one of {', '.join(safe_text(k, 30) for k in known[:10])}"
            raise GenctlError("data-format", f"'{safe_text(strange[0])}' is the class of an example, but none to train on; {where}")
    if len(known) > MAX_CLASSES:
        raise GenctlError("limit", f"{len(known):,} classes, at most {MAX_CLASSES:,}", "is this the column of the class?")
    return known


def nonempty(split: Sequence[Sequence[str]]) -> None:
    """Raises GenctlError (data-empty, data-bad) where there are no texts, or one is empty."""
    for name, texts in zip(("training", "validation", "test"), split, strict=True):
        if not texts:
            raise GenctlError("data-empty", f"no {name} texts")
        if (at := next((i for i, t in enumerate(texts) if not t.strip()), None)) is not None:
            raise GenctlError("data-bad", f"{name} text {at + 1} of {len(texts):,} is empty", "leave it out")


def fitted(coder: Coder, split: Sequence[Sequence[str]], length: int) -> tuple[list[Tensor], int, tuple[str, ...]]:
    """([rows of symbols of each part], their length, notes). Raises GenctlError (limit)."""
    sizes = [len(row) + 1 for texts in split for row in coder.encode(texts)]
    whole = length or max(sizes)
    if len(sizes) * whole > MAX_CELLS:
        raise GenctlError("limit", f"{len(sizes):,} texts of {whole:,} symbols: at most {MAX_CELLS:,} symbols", "a smaller data.length")
    return [coder.rows(texts, whole) for texts in split], whole, shortened(sum(n > whole for n in sizes), len(sizes), whole)


def shortened(cut: int, n: int, length: int) -> tuple[str, ...]:
    """What is said of texts that do not fit."""
    return (f"warning[data-short]: {cut:,} of {n:,} texts are longer than data.length {length}: cut",) if cut else ()


def dataset(config: ReadConfig, split: Sequence[Rows], names: Sequence[str] = ()) -> Dataset:
    """Texts as rows of symbols, `label` beside them; split: training, validation, test. Raises GenctlError (data-..., limit)."""
    texts, said = ([[row[k] for row in rows] for rows in split] for k in (0, 1))
    nonempty(texts)
    known = classes(said, names)
    coder = fit(config, [t for part in texts for t in part], learn=texts[0])
    rows, length, notes = fitted(coder, texts, config.length)
    number = {name: i for i, name in enumerate(known)}
    label = [torch.tensor([number[s] for s in part]) for part in said]
    beside = {"label": Spec(shape=(), vocab=len(known), codec={"names": [safe_text(k, 60) for k in known]})}
    train, valid, test = (together(x, label=y) for x, y in zip(rows, label, strict=True))
    return Dataset(coder.spec(length, given=beside), train.first(config.limit), valid, test, notes=notes)


def together(x: Tensor, **given: Tensor) -> Split:
    """A split held in memory, in small integers; its batches are in long ones."""
    held = tensors(x, given)
    return Split(len(held), lambda index: held.get(index).map(lambda t: t if t.is_floating_point() else t.long()), held.fingerprint)
