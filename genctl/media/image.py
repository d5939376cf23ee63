"""Images: one PNG each and a PNG grid of the first hundred. Tensors are (N, C, H, W) in [0, 1]; C = 1 grey, 3 RGB, 4 RGBA."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from genctl.contract import Spec
from genctl.media import Note

GRID, ACROSS = 100, 16  # images shown in a grid, and in a row of a sheet
SMALL = 480  # small images are enlarged, pixel by pixel, until their grid is at least this wide


def to_pil(x: Tensor) -> Image.Image:
    """(C, H, W) in [0, 1] as a PIL image; other numbers of channels show the first."""
    pixels = (x.detach().float().clamp(0, 1) * 255).round().to(torch.uint8).cpu()
    if len(pixels) in (3, 4):
        return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
    return Image.fromarray(pixels[0].contiguous().numpy())


def grid(x: Tensor, columns: int | None = None, gap: int = 1) -> Tensor:
    """(N, C, H, W) as one picture (C, H', W'), row by row, with a mid-grey gap."""
    n, c, h, w = x.shape
    columns = columns or math.ceil(math.sqrt(n))
    rows = -(-n // columns)
    sheet = x.new_full((c, rows * (h + gap) + gap, columns * (w + gap) + gap), 0.5)
    for i, one in enumerate(x):
        top, left = gap + (i // columns) * (h + gap), gap + (i % columns) * (w + gap)
        sheet[:, top : top + h, left : left + w] = one
    return sheet


def enlarge(x: Tensor, least: int = SMALL) -> Tensor:
    """Repeats pixels so that the picture (C, H, W) is at least `least` wide."""
    factor = max(1, -(-least // x.shape[-1]))
    return x.repeat_interleave(factor, -1).repeat_interleave(factor, -2)


def save_png(x: Tensor, path: Path, note: Note | None = None) -> None:
    """(C, H, W) in [0, 1] to a PNG that carries `note` as text under 'genctl'."""
    info = PngInfo()
    if note:
        info.add_text("genctl", json.dumps(note))
    to_pil(x).save(path, pnginfo=info)


def preview(x: Tensor, spec: Spec, stem: Path, note: Note | None = None) -> Path:
    path = stem.with_suffix(".png")
    save_png(enlarge(grid(x[:GRID].float())), path, note)
    return path


def sheet(rows: Mapping[str, Tensor], spec: Spec, stem: Path, note: Note | None = None) -> Path:
    """Row under row; the first sixteen of each."""
    path, shown = stem.with_suffix(".png"), [x[:ACROSS].float() for x in rows.values()]
    save_png(enlarge(grid(torch.cat(shown), len(shown[0]))), path, note)
    return path


def animate(x: Tensor, path: Path, note: Note | None = None, seconds: float = 0.08) -> Path:
    """(N, C, H, W) as the frames of an endless GIF, there and back."""
    frames = [to_pil(enlarge(one.float(), 240)).convert("P") for one in torch.cat([x, x[1:-1].flip(0)])]
    frames[0].save(
        path, save_all=True, append_images=frames[1:], duration=int(1000 * seconds), loop=0, comment=json.dumps(note or {}).encode()
    )
    return path


class Writer:
    """A numbered file each, and a picture of the first `shown`."""

    shown = GRID

    def __init__(self, folder: Path, spec: Spec, note: Note) -> None:
        self.folder, self.spec, self.note = folder, spec, note
        self.count = 0
        self.first: list[Tensor] = []
        self.paths: list[Path] = []

    def add(self, x: Tensor) -> None:
        if self.count < self.shown:
            self.first.append(x[: self.shown - self.count])
        for one in x:
            path = self.folder / f"{self.count:06d}.png"
            self.save(one, path, {**self.note, "index": self.count})
            self.paths.append(path)
            self.count += 1

    def save(self, one: Tensor, path: Path, note: Note) -> None:
        save_png(one, path, note)

    def close(self) -> list[Path]:
        return [preview(torch.cat(self.first), self.spec, self.folder / "grid", self.note), *self.paths]


def open_writer(folder: Path, spec: Spec, note: Note) -> Writer:
    return Writer(folder, spec, note)
