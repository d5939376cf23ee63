"""Clothing: 3,781 photographs of clothes in ten classes, central squares of 64x64 in colour; the small clothing dataset.

Grigorev and others 2020, https://github.com/alexeygrigorev/clothing-dataset-small. Split as published: 3,068 train, 341 validation,
372 test; a folder of the original photographs, train/dress/..., does as well.
"""

from typing import Literal

from pydantic import Field

from genctl.data import Dataset, find, images
from genctl.data._pixels import PixelConfig

FILE = "clothing64.zip"


class Config(PixelConfig):
    name: Literal["clothing64"] = "clothing64"
    """Photographs of clothes."""
    size: int = Field(64, ge=1, le=4096)
    """Every picture becomes a square of so many pixels a side."""


def open(config: Config) -> Dataset:
    """Raises GenctlError: no-input, permission, data-format, data-empty, data-bad, limit, config."""
    place = find("clothing64", config.path, f"{FILE}, or folders train, validation and test of pictures")
    path = place / FILE if (place / FILE).exists() else place
    return images.open(images.Config(**{**config.model_dump(), "name": "images", "path": str(path)}))
