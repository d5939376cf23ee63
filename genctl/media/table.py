"""Tables of numbers and categories: the csv of `vector`, and a PNG with a histogram of every column.

Numbers that were standardised are shown from 3.5 deviations below to 3.5 above their mean, whatever is drawn: pictures of samples and
of data (`genctl data preview`) have the same axes.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from genctl.contract import Spec
from genctl.media import Note, vector

PANELS, ACROSS, WIDE, HIGH, GAP, BINS, REACH = 60, 6, 180, 90, 26, 30, 3.5


def shares(x: Tensor, low: float, high: float, bins: int) -> list[float]:
    """The share of values in each bin; what lies outside counts in the outermost."""
    place = ((x.double() - low) / max(high - low, 1e-12) * bins).floor().clamp(0, bins - 1).nan_to_num(0).long()
    return [float(v) for v in torch.bincount(place, minlength=bins) / max(1, len(x))]


def range_of(groups: list[Tensor], spec: Spec, at: int) -> tuple[float, float]:
    """What the axis of one number spans: a fixed one where its mean and deviation are known, else that of the values."""
    mean, std = vector.units(spec)
    if isinstance(spec.codec.get("std"), list):
        return float(mean[at] - REACH * std[at]), float(mean[at] + REACH * std[at])
    every = torch.cat(groups)
    return float(every.min()), float(every.max())


def panel(pen: ImageDraw.ImageDraw, corner: tuple[int, int], heights: list[list[float]], texts: tuple[str, str, str]) -> None:
    """A histogram of each group as steps in its colour; the first is filled. texts: name, lowest, highest."""
    left, top = corner
    most = max(max(h) for h in heights) or 1.0
    pen.rectangle((left, top, left + WIDE, top + HIGH), outline="lightgrey")
    for k, group in enumerate(heights):
        colour, step = vector.COLOURS[k % len(vector.COLOURS)], WIDE / len(group)
        line: list[tuple[float, float]] = [(left, top + HIGH)]
        for i, share in enumerate(group):
            y = top + HIGH - share / most * (HIGH - 4)
            line += [(left + i * step, y), (left + (i + 1) * step, y)]
        if not k:
            pen.polygon([*line, (left + WIDE, top + HIGH)], fill=(*colour, 70))
        pen.line([*line, (left + WIDE, top + HIGH)], fill=(*colour, 230), width=1)
    name, low, high = texts
    pen.text((left, top - 12), name[:30], fill="black")
    pen.text((left, top + HIGH + 1), low[:14], fill="grey")
    pen.text((left + WIDE - 6 * len(high[:14]), top + HIGH + 1), high[:14], fill="grey")


def histograms(groups: Mapping[str, Tensor], spec: Spec) -> Image.Image:
    """Groups of x (N, D) over each other, a colour each, in a panel for every column."""
    names, words, sizes = vector.columns(spec), vector.categories(spec), vector.blocks(spec)
    parts = list(zip(*(torch.split(vector.original(x, spec), sizes, 1) for x in groups.values())))[:PANELS]
    across = min(ACROSS, len(parts))
    size = (across * (WIDE + GAP) + GAP, math.ceil(len(parts) / across) * (HIGH + 2 * GAP) + GAP)
    picture = Image.new("RGB", size, "white")
    pen, at = ImageDraw.Draw(picture, "RGBA"), 0
    for k, columns in enumerate(parts):
        corner = (GAP + (k % across) * (WIDE + GAP), GAP + (k // across) * (HIGH + 2 * GAP))
        if words[k]:
            counted = [shares(x.argmax(1), 0, sizes[k], sizes[k]) for x in columns]
            panel(pen, corner, counted, (names[k], words[k][0], words[k][-1]))
        else:
            low, high = range_of([x[:, 0] for x in columns], spec, at)
            panel(pen, corner, [shares(x[:, 0], low, high, BINS) for x in columns], (names[k], f"{low:.3g}", f"{high:.3g}"))
        at += sizes[k]
    for k, name in enumerate(groups if len(groups) > 1 else []):
        pen.text((GAP + 110 * k, size[1] - 18), name[:16], fill=vector.COLOURS[k % len(vector.COLOURS)])
    return picture


def sheet(rows: Mapping[str, Tensor], spec: Spec, stem: Path, note: Note | None = None) -> Path:
    """A colour for each row."""
    return vector.save(histograms({k: x[: vector.SHOWN] for k, x in rows.items()}, spec), stem.with_suffix(".png"), note)


def preview(x: Tensor, spec: Spec, stem: Path, note: Note | None = None) -> Path:
    return sheet({"samples": x}, spec, stem, note)


def open_writer(folder: Path, spec: Spec, note: Note) -> vector.CsvWriter:
    return vector.CsvWriter(folder, spec, note, "columns", preview)
