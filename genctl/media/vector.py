"""Rows of numbers: a csv, and a PNG scatter of the first two columns. Column names come from `spec.codec["columns"]`."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from genctl.contract import Spec
from genctl.media import Note

SIDE, MARGIN, SHOWN = 480, 40, 10_000
COLOURS = [  # of groups, told apart by most eyes
    *((20, 60, 160), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189)),
    *((140, 86, 75), (227, 119, 194), (127, 127, 127), (188, 189, 34), (23, 190, 207)),
]


def columns(spec: Spec) -> list[str]:
    return [str(c) for c in spec.codec.get("columns") or [f"x{i}" for i in range(spec.size)]]


def original(x: Tensor, spec: Spec) -> Tensor:
    """(N, D) in the units of the table it was trained on: what was standardised is scaled back."""
    flat = x.flatten(1).float()
    mean, std = spec.codec.get("mean"), spec.codec.get("std")
    for part in (mean, std):  # a checkpoint may say anything
        if not isinstance(part, list) or len(part) != spec.size or not all(isinstance(v, int | float) for v in part):
            return flat
    return flat * torch.tensor(std, dtype=torch.float32) + torch.tensor(mean, dtype=torch.float32)


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
    info = PngInfo()
    if note:
        info.add_text("genctl", json.dumps(note))
    scatter({k: x[:SHOWN] for k, x in groups.items()}, names).save(path, pnginfo=info)
    return path


def sheet(rows: Mapping[str, Tensor], spec: Spec, stem: Path, note: Note | None = None) -> Path:
    """A colour for each row."""
    return save_scatter({k: original(x[:SHOWN], spec) for k, x in rows.items()}, columns(spec), stem.with_suffix(".png"), note)


def preview(x: Tensor, spec: Spec, stem: Path, note: Note | None = None) -> Path:
    return sheet({"samples": x}, spec, stem, note)


class _Writer:
    def __init__(self, folder: Path, spec: Spec, note: Note) -> None:
        self.folder, self.spec, self.note = folder, spec, note
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
        self.rows.writerows([[f"{v:.9g}" for v in row] for row in original(x, self.spec).tolist()])

    def close(self) -> list[Path]:
        self.file.close()
        return [preview(torch.cat(self.first), self.spec, self.folder / "scatter", self.note), self.path]


def open_writer(folder: Path, spec: Spec, note: Note) -> _Writer:
    return _Writer(folder, spec, note)
