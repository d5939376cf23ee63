"""What every table has in common: columns of numbers, standardised; columns of text as categories; what is held out.

x is one row of floats: a number is one of them, a category of k is a one-hot of k (`Spec.blocks`). The categories of a column are
those of the whole table, so that a held-out value which no training row has is a category of its own, and said. A missing value is
an error. Integers are numbers unless `data.categories` names them.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor

from genctl.contract import Spec
from genctl.data import DataConfig, Dataset, find, holdout, tensors
from genctl.errors import GenctlError, safe_text
from genctl.maths import blocks
from genctl.media.vector import word

MAX_COLUMNS = 10_000


class TableConfig(DataConfig):
    """The keys that every table takes."""

    columns: list[str] = Field(default_factory=list, max_length=MAX_COLUMNS)
    """Which columns, in this order; none: every column of numbers or of few enough words."""
    categories: list[str] = Field(default_factory=list, max_length=MAX_COLUMNS)
    """Columns of numbers to be read as categories."""
    most_categories: int = Field(100, ge=2, le=10_000)
    """A column of text with more different values is left out."""
    label: str = ""
    """A column of class names that stands beside x as `label`; '': none does."""
    only: list[str] = Field(default_factory=list)
    """Train and validate on these classes of `label` alone; what is held out keeps all. For `genctl score`: what is normal."""
    standardize: bool = True
    """Take away the training mean of each column of numbers and divide by its standard deviation."""


class SplitConfig(TableConfig):
    """The keys of tables without a published split."""

    valid: float = Field(0.1, ge=0, lt=1)
    """The share held out for validation."""
    test: float = Field(0.1, ge=0, lt=1)
    """The share held out for testing."""
    in_order: bool = False
    """Hold out the last rows (a table in time) rather than random ones."""
    split_seed: int = Field(0, ge=0, lt=2**63)
    """The seed of what is held out."""


@dataclass(frozen=True)
class Column:
    """values (N,) float64: numbers, or the places of categories among `words`; NaN where missing."""

    name: str
    values: Tensor
    words: list[str]

    @property
    def size(self) -> int:
        """How many entries of x it takes."""
        return len(self.words) or 1


def split(n: int, config: SplitConfig) -> list[Tensor]:
    """The rows to train on, to validate and to test with."""
    if not config.in_order:
        return holdout(n, config.valid, config.test, seed=config.split_seed)
    cuts = [n - round(n * (config.valid + config.test)), n - round(n * config.test)]
    return [part if len(part) else torch.arange(n) for part in torch.arange(n).tensor_split(cuts)]


def place(folder: str, file: str, path: str | None) -> Path:
    """The file of a named table: `data.path` or $GENCTL_DATA/<folder>. Raises GenctlError (no-input), which names both."""
    hint = f"put {file} into $GENCTL_DATA/{folder}, or data.path=FOLDER with it"
    try:
        found = find(folder, path, file)
    except GenctlError as e:
        raise GenctlError(e.id, e.lines, hint) from None
    found = found / file if found.is_dir() else found
    if not found.exists():
        raise GenctlError("no-input", f"nothing at {safe_text(found)}", hint)
    return found


def dataset(config: TableConfig, names: list[str], rows: list[list[str]], parts: list[Tensor], shown: str) -> Dataset:
    """Rows of cells as a Dataset. Raises GenctlError: config, data-format, data-empty, data-nonfinite."""
    cells = dict(zip(names, zip(*rows, strict=True), strict=True))
    columns, notes = _columns(config, cells, shown)
    table = _whole(columns, shown)
    given, label = {}, {}
    if config.label:
        words = sorted({c.strip() for c in cells[config.label]})
        given = {"label": Spec(shape=(), vocab=len(words), codec={"names": [safe_text(w, 60) for w in words]})}
        label = {"label": _places(cells[config.label], words).long()}
    if config.only:
        parts = [*(_alone(config.only, part, label, given) for part in parts[:2]), parts[2]]
    notes += _unseen(columns, table, parts[0], shown)
    sizes = tuple(c.size for c in columns)
    codec: dict[str, object] = {"columns": [word(c.name) for c in columns]}
    if any(c.words for c in columns):
        codec["categories"] = [c.words for c in columns]
    if config.standardize:
        mean, std, still = _scale(columns, table[parts[0]])
        if still:
            notes.append(f"warning[data-constant]: {shown}: the same value in every row of {safe_text(', '.join(still))}")
        table = (table - mean) / std
        codec |= {"mean": _over(mean, sizes, 0.0), "std": _over(std, sizes, 1.0)}
    spec = Spec(shape=(sum(sizes),), media="table", blocks=sizes, codec=codec, given=given)
    splits = [tensors(table[i].float(), {k: v[i] for k, v in label.items()}, lambda x: blocks.unfold(x, sizes)) for i in parts]
    return Dataset(spec, splits[0].first(config.limit), splits[1], splits[2], notes=tuple(notes))


def _columns(config: TableConfig, cells: dict[str, tuple[str, ...]], shown: str) -> tuple[list[Column], list[str]]:
    """The columns to model, and what is said of the others."""
    for name in [*config.columns, *config.categories, *([config.label] if config.label else [])]:
        if name not in cells:
            raise GenctlError(
                "config", f"{shown} has no column '{safe_text(name)}'; it has {', '.join(safe_text(c, 30) for c in list(cells)[:10])}"
            )
    chosen = config.columns or [c for c in cells if c != config.label]
    asked = {*config.columns, *config.categories}
    read = {name: _column(name, cells[name], config, name in asked, shown) for name in chosen}
    left = [safe_text(name, 30) for name, column in read.items() if column is None]
    found = [column for column in read.values() if column]
    if not found:
        what = f"{shown}: no column of numbers, or of 2 to {config.most_categories} categories"
        raise GenctlError("data-format", what, "another data.delimiter, or a larger data.most_categories?")
    return found, [f"warning[data-columns]: {shown}: columns of text are left out: {', '.join(left[:5])}"] if left else []


def _column(name: str, cells: tuple[str, ...], config: TableConfig, asked: bool, shown: str) -> Column | None:
    """A column of numbers where its first value is one; of categories else, and None if they are too many or one alone."""
    first = next((c for c in cells if c.strip()), "")
    if name not in config.categories and number(first) is not None:
        return Column(name, _numbers(name, cells, shown), [])
    words = sorted({word(c) for c in cells} - {""}, key=_by_value)
    if 2 <= len(words) <= config.most_categories:
        return Column(name, _places(tuple(map(word, cells)), words), words)
    if asked:
        what = f"{shown}: column '{safe_text(name, 30)}' has {len(words):,} categories; expected 2 to {config.most_categories}"
        raise GenctlError("config", what, "leave it out of data.columns and data.categories, or raise data.most_categories")
    return None


def number(cell: str) -> float | None:
    """The value of a cell; NaN where it is empty, None where it is text."""
    cell = cell.strip()
    if not cell:
        return math.nan
    try:
        return float(cell) if "_" not in cell else None
    except ValueError:
        return None


def _by_value(text: str) -> tuple[bool, float, str]:
    """Numbers in their order, words behind them in theirs."""
    value = number(text)
    known = value is not None and math.isfinite(value)
    return not known, value if known and value is not None else 0.0, text


def _numbers(name: str, cells: tuple[str, ...], shown: str) -> Tensor:
    values = [number(c) for c in cells]
    if None in values:
        k = values.index(None)
        what = f"{shown}: row {k + 1}, column '{safe_text(name, 30)}': '{safe_text(cells[k], 30)}' is not a number"
        raise GenctlError("data-format", what, "mend the cell, or data.categories=[NAME] where the numbers are names")
    return torch.tensor(values, dtype=torch.float64)


def _places(cells: tuple[str, ...], words: list[str]) -> Tensor:
    """(N,) float64: where each cell stands among the words; NaN if nowhere."""
    at = {w: float(k) for k, w in enumerate(words)}
    return torch.tensor([at.get(c.strip(), math.nan) for c in cells], dtype=torch.float64)


def _whole(columns: list[Column], shown: str) -> Tensor:
    """(N, columns) float64, all finite."""
    table = torch.stack([c.values for c in columns], 1)
    bad = ~torch.isfinite(table)
    if bad.any():
        row, column = bad.nonzero()[0].tolist()
        first = f"row {row + 1}, column '{safe_text(columns[column].name, 30)}'"
        what = f"{shown}: {int(bad.sum()):,} of {bad.numel():,} values are missing, NaN or infinite (first at {first})"
        raise GenctlError("data-nonfinite", what, "clean the data")
    return table


def _alone(only: list[str], part: Tensor, label: dict[str, Tensor], given: dict[str, Spec]) -> Tensor:
    """The rows of some classes. Raises GenctlError (config, data-empty)."""
    if not label:
        raise GenctlError("config", "data.only: no column stands beside x as its label", "data.label=COLUMN")
    names = given["label"].codec["names"]
    if wrong := [w for w in only if w not in names]:
        raise GenctlError("config", f"data.only: '{safe_text(wrong[0])}' is no class; expected one of {', '.join(names[:20])}")
    kept = part[torch.isin(label["label"][part], torch.tensor([names.index(w) for w in only]))]
    if not len(kept):
        raise GenctlError("data-empty", f"data.only: no rows of {', '.join(map(safe_text, only))}")
    return kept


def _unseen(columns: list[Column], table: Tensor, train: Tensor, shown: str) -> list[str]:
    """A warning where held-out rows have categories that no training row has."""
    lost = []
    for k, column in enumerate(columns):
        seen = set(table[train, k].long().tolist()) if column.words else set()
        lost += [f"{safe_text(column.name, 30)} '{safe_text(w, 30)}'" for i, w in enumerate(column.words) if i not in seen]
    return [f"warning[data-unseen]: {shown}: no training row has {', '.join(lost[:5])}"] if lost else []


def _scale(columns: list[Column], x: Tensor) -> tuple[Tensor, Tensor, list[str]]:
    """Mean and deviation of each column, 0 and 1 for categories; the names of those that do not vary."""
    words = torch.tensor([bool(c.words) for c in columns])
    mean, std = torch.where(words, 0.0, x.mean(0)), torch.where(words, 1.0, x.std(0, correction=0))
    still = std <= 1e-9 * mean.abs().clamp(min=1e-30)
    return mean, torch.where(still, 1.0, std), [safe_text(c.name, 30) for c, s in zip(columns, still.tolist(), strict=True) if s]


def _over(values: Tensor, sizes: tuple[int, ...], other: float) -> list[float]:
    """A value of each column as one of each entry of x; `other` for the entries of a one-hot."""
    return [v for value, k in zip(values.tolist(), sizes, strict=True) for v in ([value] if k == 1 else [other] * k)]
