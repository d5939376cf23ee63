"""What every set of labelled texts has in common: a table of text, and each text as a row of symbols with its class beside it."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor

from genctl.contract import Spec
from genctl.data import Dataset, Split, find, holdout, tensors
from genctl.data._tokenise import Coder, TokeniseConfig, Way, fit
from genctl.data._tokens import read
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


# --- tables of text ----------------------------------------------------------------------------------------------------------


def inside(name: str, path: str | None, *files: str) -> list[Path]:
    """Files of a named set's folder. Raises GenctlError (no-input)."""
    folder = find(name, path, ", ".join(files))
    found = [folder / file for file in files]
    for file in found:
        if not file.is_file():
            raise GenctlError("no-input", f"nothing at {safe_text(file)}", f"data.path=FOLDER with {', '.join(files)}")
    return found


def lines(path: Path) -> list[str]:
    """The lines of a text file, without what ends them. Raises GenctlError as `read` does."""
    return read(path).decode().replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n")


def cells(path: Path, width: int, delimiter: str = ",", quoted: bool = True) -> list[list[str]]:
    """Rows of a table without a header, of `width` cells each. Raises GenctlError (data-format, data-empty, and what `read` raises)."""
    return [row for _, row in _numbered(path, width, delimiter, quoted)]


def _numbered(path: Path, width: int | None, delimiter: str, quoted: bool) -> list[tuple[int, list[str]]]:
    """The same with the line that each row ends in; width None: as many cells as the first row has."""
    shown = safe_text(path)
    text = read(path).decode().replace("\r\n", "\n").replace("\r", "\n")
    rows = csv.reader(io.StringIO(text), delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE)
    found = []
    try:
        for row in rows:
            width = width or len(row)
            if row and len(row) != width:
                raise GenctlError("data-format", f"{shown}: line {rows.line_num} has {len(row)} cells, expected {width}")
            if row:
                found.append((rows.line_num, row))
    except csv.Error as e:
        raise GenctlError("data-format", f"{shown}: line {rows.line_num}: {safe_text(e)}") from None
    if not found:
        raise GenctlError("data-empty", f"{shown}: no rows")
    return found


def columns(path: Path, *names: str) -> list[list[str]]:
    """Columns of a .csv or .tsv with a header, or of a .jsonl of objects, by their names, as rows of their cells.

    Raises GenctlError (data-format, data-empty, and what `read` raises).
    """
    kind = path.name.lower().removesuffix(".gz").rsplit(".", 1)[-1]
    if kind in ("jsonl", "json", "ndjson"):
        return _objects(path, names)
    (_, head), *rows = _numbered(path, None, "\t" if kind == "tsv" else ",", quoted=True)
    head = [cell.strip() for cell in head]
    _has(safe_text(path), head, names)
    if not rows:
        raise GenctlError("data-empty", f"{safe_text(path)}: no rows but the header")
    at = [head.index(name) for name in names]
    return [[row[i] for i in at] for _, row in rows]


def _has(shown: str, known: Sequence[str], names: Sequence[str]) -> None:
    if missing := [name for name in names if name not in known]:
        told = ", ".join(safe_text(k, 30) for k in list(known)[:10])
        raise GenctlError("data-format", f"{shown}: there is no column '{safe_text(missing[0])}'; there is {told}", "name the columns")


def _objects(path: Path, names: Sequence[str]) -> list[list[str]]:
    shown, found = safe_text(path), []
    for number, line in enumerate(lines(path), 1):
        if not line.strip():
            continue
        try:
            tree = json.loads(line)
        except (ValueError, RecursionError) as e:
            raise GenctlError("data-format", f"{shown}: line {number} is not JSON: {safe_text(e)}", "one object a line") from None
        if not isinstance(tree, dict):
            raise GenctlError("data-format", f"{shown}: line {number} is no object", 'one object a line: {"text": ..., "label": ...}')
        _has(f"{shown}: line {number}", list(tree), names)
        if wrong := [name for name in names if not isinstance(tree[name], str | int)]:
            raise GenctlError("data-format", f"{shown}: line {number}: '{safe_text(wrong[0])}' is neither text nor a whole number")
        found.append([str(tree[name]) for name in names])
    if not found:
        raise GenctlError("data-empty", f"{shown}: no rows")
    return found


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
