"""Samples that lie in a folder or an .npz, back to the tensor they were: what `genctl sample` writes, or anyone's pictures."""

import csv
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genctl.contract import Spec
from genctl.errors import GenctlError, safe_text
from genctl.media import text, vector

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
SHEETS = {"grid.png", "scatter.png", "sheet.png", "strip.png"}  # what the commands add to look at


def read(path: Path, spec: Spec, n: int | None = None) -> tuple[Tensor, dict[str, Any]]:
    """((N, *shape) in the data's scale, what samples.json says of them). Pixels in an .npz may be 8-bit integers.

    Raises GenctlError (no-input, data-format, data-mismatch, data-empty, data-nonfinite).
    """
    if not path.exists():
        raise GenctlError("no-input", f"no samples at {safe_text(path)}", "genctl sample --ckpt CKPT --out FOLDER")
    if path.is_file() and path.suffix == ".npz":
        x, note = _npz(path)
    elif path.is_file():
        x, note = _file(path, spec, n), {}
    else:
        note = _note(path)
        x = _folder(path, spec, n)
    if tuple(x.shape[1:]) != spec.shape:
        raise GenctlError("data-mismatch", f"{safe_text(path)}: samples are {list(x.shape[1:])}, the data is {list(spec.shape)}")
    if not len(x):
        raise GenctlError("data-empty", f"{safe_text(path)} holds no samples")
    x = x[:n] if n else x
    if spec.vocab:
        if not ((x >= 0) & (x < spec.vocab)).all():
            raise GenctlError("data-mismatch", f"{safe_text(path)}: symbols must lie in 0 to {spec.vocab - 1}")
        return x.long(), note
    if not torch.isfinite(x.float()).all():
        raise GenctlError("data-nonfinite", f"{safe_text(path)}: samples are not finite")
    scale = 255 if x.dtype == torch.uint8 and spec.levels and x.max() > 1 else 1
    return x.float() / scale, note


def _note(folder: Path) -> dict[str, Any]:
    try:
        return _words(json.loads((folder / "samples.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError):
        return {}


def _words(note: Any) -> dict[str, str]:
    """The entries of a note that a stamp may repeat."""
    return {k: safe_text(v) for k in ("checkpoint", "family") if isinstance(note, dict) and isinstance(v := note.get(k), str)}


def _npz(path: Path) -> tuple[Tensor, dict[str, Any]]:
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as arrays:
            names = [k for k in arrays.files if k != "genctl"]
            name = "x" if "x" in names else names[0]
            note = _words(json.loads(str(arrays["genctl"]))) if "genctl" in arrays.files else {}
            return torch.from_numpy(arrays[name]), note
    except Exception as e:  # whatever numpy says of a damaged file is the file's fault
        raise GenctlError("data-format", f"{safe_text(path)}: not an npz of plain arrays: {safe_text(e)}") from None


def _folder(folder: Path, spec: Spec, n: int | None) -> Tensor:
    if spec.media not in ("image", "video"):
        written = [p for p in (folder / "samples.csv", folder / "samples.txt") if p.exists()]
        if not written:
            raise GenctlError("no-input", f"{safe_text(folder)}: neither samples.csv nor samples.txt", "or give one .npz with an array 'x'")
        return _file(written[0], spec, n)
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURES and p.name not in SHEETS)
    return torch.stack([_picture(p, spec) for p in paths[:n]]) if paths else torch.zeros(0, *spec.shape)


def _picture(path: Path, spec: Spec) -> Tensor:
    """(*shape) in [0, 1]: one picture, or the frames of a clip. The size is compared before a pixel is decoded."""
    from PIL import Image

    *clip, channels, height, width = spec.shape
    mode = {1: "L", 3: "RGB", 4: "RGBA"}.get(channels, "L")
    try:
        with Image.open(path) as picture:
            size, frames = picture.size, getattr(picture, "n_frames", 1)
            if size == (width, height) and (not clip or frames == clip[0]):
                found = []
                for k in range(clip[0] if clip else 1):
                    picture.seek(k)
                    raw = torch.frombuffer(bytearray(picture.convert(mode).tobytes()), dtype=torch.uint8)
                    found.append(raw.reshape(height, width, -1).permute(2, 0, 1).float() / 255)
                return torch.stack(found).view(spec.shape)
    except Exception as e:  # whatever Pillow says of a damaged file is the file's fault
        raise GenctlError("data-format", f"{safe_text(path)}: not a picture: {safe_text(e)}") from None
    many = f"{frames} frames of " if clip else ""
    wanted = f"{clip[0]} of " if clip else ""
    raise GenctlError("data-mismatch", f"{safe_text(path)} is {many}{size[0]} x {size[1]} pixels, the data {wanted}{width} x {height}")


def _file(path: Path, spec: Spec, n: int | None) -> Tensor:
    shown = safe_text(path)
    if path.suffix.lower() in PICTURES and spec.media in ("image", "video"):
        return _picture(path, spec)[None]
    try:
        if path.suffix == ".csv":
            with path.open(newline="", encoding="utf-8") as f:
                header, *rows = list(csv.reader(f)) or [[]]
            return vector.from_cells(header, rows[:n], spec).reshape(-1, *spec.shape)
        if path.suffix == ".txt" and spec.vocab:
            pieces = path.read_text(encoding="utf-8").removesuffix("\n").split(text.RULE)
            return torch.stack([_tokens(piece, spec) for piece in pieces[:n]])
    except (ValueError, RuntimeError, UnicodeDecodeError, csv.Error) as e:
        raise GenctlError("data-format", f"{shown}: {safe_text(e)}") from None
    raise GenctlError("data-format", f"{shown}: expected a folder of samples or an .npz with an array 'x'")


def _tokens(piece: str, spec: Spec) -> Tensor:
    """A text as one row of symbols, filled with the end symbol."""
    row = text.encode(piece, spec)[: spec.size]
    if len(row) < spec.size:
        if spec.end is None:
            raise ValueError(f"a sample has {len(row)} symbols, the data {spec.size}")
        row = torch.cat([row, torch.full((spec.size - len(row),), spec.end)])
    return row.reshape(spec.shape)
