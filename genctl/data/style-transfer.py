"""Pictures to paint and paintings to take the style of: folders `content` and `style`.

x is a painting, or squares of it; `other` beside it a square of some picture to be painted. The sets of scikit-image and of
jcjohnson/neural-style, https://github.com/jcjohnson/neural-style, lie so; any two folders of pictures do.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from genctl.data import Dataset, find, photos, unpaired
from genctl.errors import GenctlError
from genctl.maths import filters


class Config(photos.SquareConfig):
    name: Literal["style-transfer"] = "style-transfer"
    """Pictures, and paintings beside them."""
    size: int = Field(256, ge=8, le=4096)
    """Pixels a side of a square."""
    side: int = Field(256, ge=8, le=4096)
    """All pictures are first made so large that their shorter side has so many pixels."""
    style: str = ""
    """The painting, by the beginning of its file's name; empty: all in the folder."""


def open(config: Config) -> Dataset:
    """Raises GenctlError: no-input, permission, data-format, data-empty, data-bad."""
    root = find("style-transfer", config.path, "folders content and style of pictures")
    paintings = [_sized(p, config.side) for p in photos.read(str(root / "style"), 3, begins=config.style)[0]]
    contents = [_sized(p, config.side) for p in photos.read(str(root / "content"), 3)[0]]
    if config.size > config.side:
        raise GenctlError("config", f"data.size: {config.size} pixels are more than data.side, {config.side}", f"data.size={config.side}")
    plain = config.model_copy(update={"valid": 0.0, "limit": 0})
    ours, theirs = photos.squares(plain, paintings, paintings), photos.squares(plain, contents, contents)
    return unpaired.beside(ours, theirs, config.limit)


def _sized(photo: Tensor, side: int) -> Tensor:
    """(C, H, W) bytes, the shorter side of so many pixels."""
    scale = side / min(photo.shape[1:])
    if scale == 1:
        return photo
    return (255 * filters.bicubic(photo[None].float() / 255, scale).clamp(0, 1)).round().to(torch.uint8)[0]
