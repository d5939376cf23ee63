"""Rows of numbers: a csv, and a PNG scatter of the first two columns.

`spec.codec` may hold the names of the `columns`, the words of their `categories`, and `mean` and `std` of every entry of x: a csv is
written, and read back, in the words and units of the table that x was made of.
"""

import csv
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from genctl.contract import Spec
from genctl.errors import safe_text
from genctl.media import Note

SIDE, MARGIN, SHOWN = 480, 40, 10_000
COLOURS = [  # of groups, told apart by most eyes
    *((20, 60, 160), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189)),
    *((140, 86, 75), (227, 119, 194), (127, 127, 127), (188, 189, 34), (23, 190, 207)),
]


def blocks(spec: Spec) -> list[int]:
    """How many entries of x each column takes."""
    return list(spec.blocks) or [1] * spec.size


def columns(spec: Spec) -> list[str]:
    """The names of the columns; numbered where a codec has not one for each."""
    names, sizes = spec.codec.get("columns") or [], blocks(spec)
    return [str(c) for c in names] if len(names) == len(sizes) else [f"x{i}" for i in range(len(sizes))]


def categories(spec: Spec) -> list[list[str]]:
    """The words of each column, none for numbers; numbered where a codec has not one for each entry of a one-hot."""
    sizes, known = blocks(spec), spec.codec.get("categories")
    words = known if isinstance(known, list) and len(known) == len(sizes) else [[]] * len(sizes)
    able = [isinstance(w, list) and len(w) == k and len({str(v) for v in w}) == k for w, k in zip(words, sizes, strict=True)]
    return [
        [] if k == 1 else [word(str(v)) for v in w] if fits else [str(i) for i in range(k)]
        for w, k, fits in zip(words, sizes, able, strict=True)
    ]


def word(cell: str) -> str:
    """A category as it is compared and written: without spaces around it, fit for a terminal."""
    return safe_text(cell.strip(), 200)


def units(spec: Spec) -> tuple[Tensor, Tensor]:
    """Mean and deviation that x was standardised with (D,); 0 and 1 where it was not."""
    mean, std = spec.codec.get("mean"), spec.codec.get("std")
    for part in (mean, std):  # a checkpoint may say anything
        if not isinstance(part, list) or len(part) != spec.size or not all(isinstance(v, int | float) for v in part):
            return torch.zeros(spec.size), torch.ones(spec.size)
    return torch.tensor(mean, dtype=torch.float32), torch.tensor(std, dtype=torch.float32)


def original(x: Tensor, spec: Spec) -> Tensor:
    """(N, D) in the units of the table it was trained on: what was standardised is scaled back."""
    mean, std = units(spec)
    return x.flatten(1).float() * std + mean


def to_cells(x: Tensor, spec: Spec) -> list[list[str]]:
    """Rows as they stand in a csv: numbers in their units, and the word of the largest entry of a one-hot."""
    words = categories(spec)
    parts = torch.split(original(x, spec), blocks(spec), 1)
    rows = zip(*([w[i] for i in p.argmax(1).tolist()] if w else [f"{v:.9g}" for v in p[:, 0].tolist()] for p, w in zip(parts, words)))
    return [list(row) for row in rows]


def from_cells(header: list[str], rows: list[list[str]], spec: Spec) -> Tensor:
    """The inverse: x (N, D) of a csv with these columns, in any order and among others. Raises ValueError for a cell that is no x.

    Without names to go by (`spec.codec`), columns are taken as they come.
    """
    names, heads = columns(spec), [word(h) for h in header]
    if not spec.codec.get("columns") and len(heads) == len(names):
        heads = names
    if missing := [n for n in names if n not in heads]:
        raise ValueError(f"no column '{missing[0]}'; the data has {', '.join(names[:10])}")
    if short := [k for k, row in enumerate(rows) if len(row) != len(heads)]:
        raise ValueError(f"row {short[0] + 1} has {len(rows[short[0]])} cells, the header {len(heads)}")
    cells = dict(zip(heads, zip(*rows))) if rows else dict.fromkeys(heads, ())
    mean, std = units(spec)
    starts = torch.tensor([0, *blocks(spec)]).cumsum(0).tolist()
    found = []
    for name, words, at in zip(names, categories(spec), starts):
        if words:
            found.append(torch.eye(len(words))[[_place(word(c), words, name) for c in cells[name]]])
        else:
            found.append(((_numbers(cells[name]) - mean[at]) / std[at])[:, None])
    return torch.cat(found, 1).float()


def _numbers(cells: tuple[str, ...]) -> Tensor:
    return torch.tensor([float(c) if c.strip() else math.nan for c in cells], dtype=torch.float64)


def _place(found: str, words: list[str], name: str) -> int:
    if found not in words:
        raise ValueError(f"'{found}' is no category of column '{name}'; expected one of {', '.join(words[:10])}")
    return words.index(found)


def scatter(groups: Mapping[str, Tensor], names: list[str]) -> Image.Image:
    """Groups of (N, D) as points in the plane of the first two columns, a colour each, with the range on the axes."""
    flat = [x.flatten(1).float() for x in groups.values()]
    flat = [torch.cat([x, torch.zeros(len(x), 1)], 1)[:, :2] if x.shape[1] == 1 else x[:, :2] for x in flat]
    every = torch.cat(flat)
    low, high = every.amin(0), every.amax(0)
    picture = Image.new("RGB", (SIDE + 2 * MARGIN, SIDE + 2 * MARGIN), "white")
    pen = ImageDraw.Draw(picture, "RGBA")
    pen.rectangle((MARGIN, MARGIN, MARGIN + SIDE, MARGIN + SIDE), outline="grey")
    for k, (name, x) in enumerate(zip(groups, flat, strict=True)):
        colour = COLOURS[k % len(COLOURS)]
        for u, v in ((x - low) / (high - low).clamp(min=1e-9)).tolist():
            px, py = MARGIN + u * SIDE, MARGIN + (1 - v) * SIDE
            pen.ellipse((px - 1.5, py - 1.5, px + 1.5, py + 1.5), fill=(*colour, 110))
        if len(groups) > 1:
            pen.text((MARGIN + 8 + SIDE // 10 * (k % 10), SIDE + MARGIN + 20 + 12 * (k // 10)), name[:12], fill=colour)
    for text, place in (
        (f"{float(low[0]):.3g}", (MARGIN, SIDE + MARGIN + 6)),
        (f"{float(high[0]):.3g}  {names[0]}", (SIDE - 10, SIDE + MARGIN + 6)),
        (f"{float(high[1]):.3g}  {names[1] if len(names) > 1 else ''}", (MARGIN, MARGIN - 16)),
        (f"{float(low[1]):.3g}", (4, SIDE + MARGIN - 12)),
    ):
        pen.text(place, text, fill="black")
    return picture


def save_scatter(groups: Mapping[str, Tensor], names: list[str], path: Path, note: Note | None = None) -> Path:
    """`scatter` as a PNG that carries `note`."""
    return save(scatter({k: x[:SHOWN] for k, x in groups.items()}, names), path, note)


def save(picture: Image.Image, path: Path, note: Note | None) -> Path:
    """A PNG that carries `note`."""
    info = PngInfo()
    if note:
        info.add_text("genctl", json.dumps(note))
    picture.save(path, pnginfo=info)
    return path


def sheet(rows: Mapping[str, Tensor], spec: Spec, stem: Path, note: Note | None = None) -> Path:
    """A colour for each row."""
    return save_scatter({k: original(x[:SHOWN], spec) for k, x in rows.items()}, columns(spec), stem.with_suffix(".png"), note)


def preview(x: Tensor, spec: Spec, stem: Path, note: Note | None = None) -> Path:
    return sheet({"samples": x}, spec, stem, note)


class CsvWriter:
    """samples.csv, and a picture of the first of them."""

    def __init__(self, folder: Path, spec: Spec, note: Note, picture: str = "scatter", show: Callable[..., Path] = preview) -> None:
        self.folder, self.spec, self.note, self.picture, self.show = folder, spec, note, picture, show
        self.path = folder / "samples.csv"
        self.file = self.path.open("w", newline="", encoding="utf-8")
        self.rows = csv.writer(self.file)
        self.rows.writerow(columns(spec))
        self.first: list[Tensor] = []
        self.count = 0

    def add(self, x: Tensor) -> None:
        if self.count < SHOWN:
            self.first.append(x[: SHOWN - self.count])
        self.count += len(x)
        self.rows.writerows(to_cells(x, self.spec))

    def close(self) -> list[Path]:
        self.file.close()
        return [self.show(torch.cat(self.first), self.spec, self.folder / self.picture, self.note), self.path]


def open_writer(folder: Path, spec: Spec, note: Note) -> CsvWriter:
    return CsvWriter(folder, spec, note)
