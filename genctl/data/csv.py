"""A table with a header: rows are examples; numbers are standardised, text becomes categories, and both are written back as they were.

Text with too many different values is left out and named; a missing or infinite value is an error that counts them (`_table.py`).
`.csv.gz` is read too.
"""

import csv
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from genctl.data import Dataset, find
from genctl.data._table import MAX_COLUMNS, SplitConfig, dataset, number, split
from genctl.errors import GenctlError, safe_text

MAX_LINE, MAX_BYTES = 2**20, 4 * 2**30


class Config(SplitConfig):
    name: Literal["csv"] = "csv"
    """A table of numbers and categories."""
    path: str
    """The file."""
    delimiter: Literal[",", ";", "\t", "|"] = ","
    """Between the cells."""


def open(config: Config) -> Dataset:
    """Raises GenctlError: no-input, permission, data-format, data-encoding, data-empty, data-nonfinite, config."""
    path = find("csv", config.path, "a table")
    names, rows = table(path, config.delimiter)
    return dataset(config, names, rows, split(len(rows), config), safe_text(path))


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
    except (OSError, EOFError, ValueError, zlib.error) as e:
        raise GenctlError("data-format", f"{shown}: {safe_text(e)}") from None


def table(path: Path, delimiter: str = ",") -> tuple[list[str], list[list[str]]]:
    """(column names, rows of cells, at least one). A first row of numbers alone is no header."""
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
        raise GenctlError("data-empty", f"{shown}: no rows")
    if all(number(c) is not None for c in rows[0]):
        return [f"x{k}" for k in range(len(rows[0]))], rows
    names = [c.strip() for c in rows[0]]
    if len(set(names)) < len(names):
        raise GenctlError("data-format", f"{shown}: two columns have one name")
    if not rows[1:]:
        raise GenctlError("data-empty", f"{shown}: no rows but the header")
    return names, rows[1:]
