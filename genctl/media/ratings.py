"""Ratings of named things, such as films: a csv of what each row likes best, in stars.

x lies in [0, 1]; `spec.codec["items"]` is a JSON text with the `titles` of its entries and the `low`est and `high`est rating.
"""

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from genctl.contract import Spec
from genctl.errors import safe_text
from genctl.media import Note

SHOWN = 20  # of each row


def items(spec: Spec) -> tuple[list[str], float, float]:
    """(titles, lowest rating, highest); numbered and 0 to 1 where a codec does not say, as that of any file may not."""
    try:
        found = json.loads(spec.codec["items"])
        titles, low, high = [safe_text(str(t), 200) for t in found["titles"]], float(found["low"]), float(found["high"])
        if len(titles) == spec.size and low < high:
            return titles, low, high
    except (KeyError, TypeError, ValueError, RecursionError):
        pass
    return [str(k) for k in range(spec.size)], 0.0, 1.0


def stars(x: Tensor, spec: Spec) -> Tensor:
    """x in the units of the ratings."""
    _, low, high = items(spec)
    return low + (high - low) * x


def best(x: Tensor, spec: Spec, n: int = SHOWN) -> Iterator[list[tuple[str, float]]]:
    """(title, rating) of the n highest of each row of x (N, D), the highest first; -inf is none."""
    titles, _, _ = items(spec)
    for row in stars(x.flatten(1), spec):
        order = torch.sort(row, descending=True, stable=True).indices[:n].tolist()
        yield [(titles[k], row[k].item()) for k in order if row[k] > -torch.inf]


def sheet(rows: Mapping[str, Tensor], spec: Spec, stem: Path, note: Note | None = None) -> Path:
    path = stem.with_suffix(".csv")
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["of", "row", "title", "rating"])
        for name, x in rows.items():
            for k, liked in enumerate(best(x, spec)):
                table.writerows([name, k, title, f"{rating:.2f}"] for title, rating in liked)
    return path


def preview(x: Tensor, spec: Spec, stem: Path, note: Note | None = None) -> Path:
    return sheet({"samples": x}, spec, stem, note)


class _Writer:
    """samples.csv."""

    def __init__(self, folder: Path, spec: Spec) -> None:
        self.path, self.spec, self.count = folder / "samples.csv", spec, 0
        self.file = self.path.open("w", newline="", encoding="utf-8")
        self.table = csv.writer(self.file)
        self.table.writerow(["row", "title", "rating"])

    def add(self, x: Tensor) -> None:
        for k, liked in enumerate(best(x, self.spec), self.count):
            self.table.writerows([k, title, f"{rating:.2f}"] for title, rating in liked)
        self.count += len(x)

    def close(self) -> list[Path]:
        self.file.close()
        return [self.path]


def open_writer(folder: Path, spec: Spec, note: Note) -> _Writer:
    return _Writer(folder, spec)
