"""A table of numbers with a header: rows are examples, columns are standardised and written back in their own units.

Text columns are left out and named; a missing or infinite value is an error that counts them. `.csv.gz` is read too.
"""

import csv
import gzip
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from genctl.contract import Spec
from genctl.data import DataConfig, Dataset, find, holdout, tensors
from genctl.errors import GenctlError, safe_text

MAX_LINE, MAX_BYTES, MAX_COLUMNS = 2**20, 4 * 2**30, 10_000


class Config(DataConfig):
    name: Literal["csv"] = "csv"
    """A table of numbers."""
    path: str
    """The file."""
    delimiter: Literal[",", ";", "\t", "|"] = ","
    """Between the cells."""
    columns: list[str] = Field(default_factory=list, max_length=MAX_COLUMNS)
    """Which columns, in this order; none: every column of numbers."""
    label: str = ""
    """A column of class names that stands beside x as `label`."""
    standardize: bool = True
    """Take away the training mean of each column and divide by its standard deviation."""
    valid: float = Field(0.1, ge=0, lt=1)
    """The share held out for validation."""
    test: float = Field(0.1, ge=0, lt=1)
    """The share held out for testing."""
    in_order: bool = False
    """Hold out the last rows (a table in time) rather than random ones."""
    split_seed: int = Field(0, ge=0, lt=2**63)
    """The seed of what is held out."""


def open(config: Config) -> Dataset:
    """Raises GenctlError: no-input, permission, data-format, data-encoding, data-empty, data-nonfinite, config."""
    path = find("csv", config.path, "a table")
    shown = safe_text(path)
    names, rows = _table(path, config.delimiter)
    if not rows:
        raise GenctlError("data-empty", f"{shown}: no rows")
    chosen, left = _columns(names, rows[0], config, shown)
    x = _numbers(rows, [names.index(c) for c in chosen], chosen, shown)
    y, classes = _labels(rows, names.index(config.label)) if config.label else (None, [])
    n = len(x)
    if config.in_order:
        cuts = [n - round(n * (config.valid + config.test)), n - round(n * config.test)]
        parts = list(torch.arange(n).tensor_split(cuts))
        parts = [p if len(p) else torch.arange(n) for p in parts]
    else:
        parts = holdout(n, config.valid, config.test, seed=config.split_seed)
    notes = (
        [f"warning[data-columns]: {shown}: columns of text are left out: {', '.join(safe_text(c, 30) for c in left[:5])}"] if left else []
    )
    codec: dict[str, object] = {"columns": [safe_text(c, 60) for c in chosen]}
    if config.standardize:
        mean, std = x[parts[0]].mean(0), x[parts[0]].std(0, correction=0)
        still = std <= 1e-9 * mean.abs().clamp(min=1e-30)
        if still.any():
            same = ", ".join(safe_text(c, 30) for c, s in zip(chosen, still.tolist(), strict=True) if s)
            notes.append(f"warning[data-constant]: {shown}: the same value in every row of {safe_text(same)}")
        std = torch.where(still, 1.0, std)
        x = (x - mean) / std
        codec |= {"mean": mean.tolist(), "std": std.tolist()}
    given = {"label": Spec(shape=(), vocab=len(classes), codec={"names": [safe_text(c, 60) for c in classes]})} if y is not None else {}
    spec = Spec(shape=(len(chosen),), media="vector", codec=codec, given=given)
    splits = [tensors(x[i].float(), {"label": y[i]} if y is not None else {}) for i in parts]
    return Dataset(spec, splits[0].first(config.limit), splits[1], splits[2], notes=tuple(notes))


def _lines(path: Path) -> Iterator[str]:
    """Lines of text, none longer than MAX_LINE."""
    shown, done = safe_text(path), 0
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            stream = gzip.GzipFile(fileobj=raw) if packed else raw
            while line := stream.readline(MAX_LINE + 1):
                if len(line) > MAX_LINE or done > MAX_BYTES:
                    raise GenctlError(
                        "limit", f"{shown}: a line of over {MAX_LINE:,} bytes, or over {MAX_BYTES:,} in all, at byte {done:,}"
                    )
                try:
                    yield line.decode("utf-8-sig" if not done else "utf-8")
                except UnicodeDecodeError as e:
                    at = done + e.start
                    raise GenctlError("data-encoding", f"{shown}: byte 0x{line[e.start]:02x} at offset {at} is not UTF-8") from None
                done += len(line)
    except PermissionError:
        raise GenctlError("permission", f"{shown} may not be read") from None
    except (OSError, EOFError, ValueError) as e:
        raise GenctlError("data-format", f"{shown}: {safe_text(e)}") from None


def _table(path: Path, delimiter: str) -> tuple[list[str], list[list[str]]]:
    """(column names, rows of cells). A first row of numbers alone is no header."""
    shown = safe_text(path)
    rows: list[list[str]] = []
    try:
        for row in csv.reader(_lines(path), delimiter=delimiter):
            if row:
                rows.append(row)
                if len(row) != len(rows[0]) or len(row) > MAX_COLUMNS:
                    raise GenctlError("data-format", f"{shown}: row {len(rows)} has {len(row)} cells, the first has {len(rows[0])}")
    except csv.Error as e:
        raise GenctlError("data-format", f"{shown}: row {len(rows) + 1}: {safe_text(e)}") from None
    if not rows:
        return [], []
    if all(_number(c) is not None for c in rows[0]):
        return [f"x{k}" for k in range(len(rows[0]))], rows
    names = [c.strip() for c in rows[0]]
    if len(set(names)) < len(names):
        raise GenctlError("data-format", f"{shown}: two columns have one name")
    return names, rows[1:]


def _number(cell: str) -> float | None:
    """The value of a cell; NaN where it is empty, None where it is text."""
    cell = cell.strip()
    if not cell:
        return math.nan
    try:
        return float(cell) if "_" not in cell else None
    except ValueError:
        return None


def _columns(names: list[str], first: list[str], config: Config, shown: str) -> tuple[list[str], list[str]]:
    """(the columns to model, those of text that were left out)."""
    for name in [*config.columns, *([config.label] if config.label else [])]:
        if name not in names:
            raise GenctlError(
                "config", f"{shown} has no column '{safe_text(name)}'; it has {', '.join(safe_text(c, 30) for c in names[:10])}"
            )
    if config.columns:
        return config.columns, []
    numeric = [c for c, cell in zip(names, first, strict=True) if _number(cell) is not None and c != config.label]
    if not numeric:
        raise GenctlError("data-format", f"{shown}: no column of numbers", "another data.delimiter?")
    return numeric, [c for c in names if c not in numeric and c != config.label]


def _numbers(rows: list[list[str]], columns: list[int], names: list[str], shown: str) -> Tensor:
    """(N, D) float64, all finite."""
    values: list[list[float]] = []
    missing, where = 0, ""
    for k, row in enumerate(rows):
        numbers = []
        for c, name in zip(columns, names, strict=True):
            value = _number(row[c])
            if value is None:
                raise GenctlError(
                    "data-format", f"{shown}: row {k + 1}, column '{safe_text(name, 30)}': '{safe_text(row[c], 30)}' is not a number"
                )
            if not math.isfinite(value):
                missing += 1
                where = where or f"row {k + 1}, column '{safe_text(name, 30)}'"
            numbers.append(value)
        values.append(numbers)
    if missing:
        total = len(values) * len(names)
        raise GenctlError(
            "data-nonfinite", f"{shown}: {missing:,} of {total:,} values are missing, NaN or infinite (first at {where})", "clean the data"
        )
    return torch.tensor(values, dtype=torch.float64)


def _labels(rows: list[list[str]], column: int) -> tuple[Tensor, list[str]]:
    classes = sorted({row[column].strip() for row in rows})
    place = {c: k for k, c in enumerate(classes)}
    return torch.tensor([place[row[column].strip()] for row in rows]), classes
