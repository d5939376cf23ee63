"""LPC sprites: clips of eight frames of animated characters, 64x64 in colour; three actions seen from three sides.

Artwork of the Liberated Pixel Cup; the set of Li and Mandt 2018, https://arxiv.org/abs/1803.02991: 1,000 characters to train and 296
to test, of which the file holds the first 100 and 30. The last tenth of the training characters is the validation split.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from genctl.data import Dataset, find
from genctl.data._arrays import read
from genctl.data._pixels import PixelConfig, dataset
from genctl.errors import GenctlError, safe_text

FILE = "sprites_subset.npz"
ACTIONS, SIDES = ("walk", "spellcast", "slash"), ("front", "left", "right")
CLASSES = [f"{action} {side}" for action in ACTIONS for side in SIDES]


class Config(PixelConfig):
    name: Literal["lpc-sprites-video"] = "lpc-sprites-video"
    """Clips of animated characters."""
    side: Literal[64, 32, 16] = 64
    """Pixels a side; less than 64 are means of squares."""
    valid: int = Field(10, ge=0, le=99)
    """The last so many training characters, nine clips each, are the validation split."""


def open(config: Config) -> Dataset:
    """Raises GenctlError: no-input, permission, data-format, config."""
    if config.flip:
        raise GenctlError("config", "data.flip: a mirrored character faces the other side, and its label would lie", "data.flip=false")
    folder = find("lpc-sprites-video", config.path, FILE)
    path = folder / FILE if folder.is_dir() else folder
    if not path.exists():
        raise GenctlError("no-input", f"{safe_text(path)} is missing", f"the folder holds {FILE}")
    arrays, held = read(path), 9 * config.valid
    try:
        palette = arrays["palette"]
        (x, y), test = ((_clips(arrays[k], palette, config.side), _classes(arrays[f"{k}_action_direction"])) for k in ("train", "test"))
    except (KeyError, IndexError, RuntimeError, ValueError) as e:
        raise GenctlError("data-format", f"{safe_text(path)}: not the set's arrays: {safe_text(e)}") from None
    cut = len(x) - held
    if cut < 1:
        raise GenctlError("config", f"data.valid: {config.valid} characters of nine clips leave nothing to train on")
    valid = (x[cut:], y[cut:]) if held else (x, y)
    return dataset(config, (x[:cut], y[:cut]), valid, test, classes=CLASSES)


def _clips(index: Tensor, palette: Tensor, side: int) -> Tensor:
    """(N, T, 3, side, side) bytes of places (N, T, 64, 64) in a palette (K, 3)."""
    n, t, h, w = index.shape
    colour = palette[index.long()].movedim(-1, 2)  # (N, T, 3, H, W)
    if side == h:
        return colour.contiguous()
    squares = colour.reshape(n, t, 3, side, h // side, side, w // side).float()
    return squares.mean((4, 6)).round().to(torch.uint8)


def _classes(pairs: Tensor) -> Tensor:
    """Action and direction (N, 2) as one number."""
    label = pairs.long() @ torch.tensor([len(SIDES), 1])
    if label.max() >= len(CLASSES):
        raise ValueError("an action or direction is out of range")
    return label
