"""Clips: an animated PNG each, an animated grid, and a film strip of the first. Tensors are (N, T, C, H, W) in [0, 1].

An animated PNG loses nothing and plays in every browser; where only stills are shown, it is its first frame.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from genctl.contract import Spec
from genctl.media import Note, image

GRID, STRIPS, ACROSS = 36, 8, 4  # clips of a grid; of a film strip; in a row of a sheet
SECONDS = 0.12  # of a frame


def save(frames: Sequence[Tensor], path: Path, note: Note | None = None) -> Path:
    """Pictures (C, H, W) in [0, 1] as an endless animated PNG that carries `note`."""
    info = PngInfo()
    if note:
        info.add_text("genctl", json.dumps(note))
    first, *rest = (image.to_pil(f) for f in frames)
    over = [k % 2 if first.mode != "RGBA" else 0 for k in range(len(frames))]  # the same for opaque pixels; equal frames stay apart
    first.save(path, pnginfo=info, save_all=True, append_images=rest, duration=round(1000 * SECONDS), loop=0, blend=over)
    return path


def strip(x: Tensor) -> Tensor:
    """(N, T, C, H, W) as one picture (C, H', W'): a clip a row, a frame a column."""
    return image.enlarge(image.grid(x.flatten(0, 1).float(), x.shape[1]))


def preview(x: Tensor, spec: Spec, stem: Path, note: Note | None = None) -> Path:
    path = stem.with_suffix(".png")
    image.save_png(strip(x[:STRIPS]), path, note)
    return path


def sheet(rows: Mapping[str, Tensor], spec: Spec, stem: Path, note: Note | None = None) -> Path:
    """The frames of the first clips of each row, so that what belongs together stands under one another."""
    path = stem.with_suffix(".png")
    shown = [x[:ACROSS] for x in rows.values()]
    image.save_png(strip(torch.stack(shown, 1).flatten(0, 1)), path, note)
    return path


class _Writer(image.Writer):
    shown = GRID

    def save(self, one: Tensor, path: Path, note: Note) -> None:
        save(list(one), path, note)

    def close(self) -> list[Path]:
        first = torch.cat(self.first).float()
        grid = save([image.enlarge(image.grid(frame)) for frame in first.unbind(1)], self.folder / "grid.png", self.note)
        return [preview(first, self.spec, self.folder / "strip", self.note), grid, *self.paths]


def open_writer(folder: Path, spec: Spec, note: Note) -> _Writer:
    return _Writer(folder, spec, note)
