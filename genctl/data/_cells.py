"""Tables of text: cells by place, columns by name, or lines; a file may be packed as .gz."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from genctl.data import find
from genctl.data._tokens import read
from genctl.errors import GenctlError, safe_text


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
    for number, tree in objects(path, '{"text": ..., "label": ...}'):
        _has(f"{shown}: line {number}", list(tree), names)
        if wrong := [name for name in names if not isinstance(tree[name], str | int)]:
            raise GenctlError("data-format", f"{shown}: line {number}: '{safe_text(wrong[0])}' is neither text nor a whole number")
        found.append([str(tree[name]) for name in names])
    return found


def objects(path: Path, example: str) -> list[tuple[int, dict[str, Any]]]:
    """The objects of a .jsonl, with the lines they stand in. example: of one. Raises GenctlError (data-format, data-empty, and what `read` raises)."""
    shown, found = safe_text(path), []
    for number, line in enumerate(lines(path), 1):
        if not line.strip():
            continue
        try:
            tree = json.loads(line)
        except (ValueError, RecursionError) as e:
            raise GenctlError("data-format", f"{shown}: line {number} is not JSON: {safe_text(e)}", "one object a line") from None
        if not isinstance(tree, dict):
            raise GenctlError("data-format", f"{shown}: line {number} is no object", f"one object a line: {example}")
        found.append((number, tree))
    if not found:
        raise GenctlError("data-empty", f"{shown}: no rows")
    return found
