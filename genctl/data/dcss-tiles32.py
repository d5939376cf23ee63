"""Dungeon Crawl Stone Soup tiles: 4,249 sprites of 32x32 pixels in colour, over white; monsters, players, items, dungeons.

The artists of Dungeon Crawl Stone Soup, https://github.com/crawl/tiles (CC0 1.0), in one zip or folder whose first folders are the classes.
No split is published: a tenth each, drawn at random, is for validation and for the test.
"""

from typing import Literal

from pydantic import Field

from genctl.data import Dataset, find, images
from genctl.data._pixels import PixelConfig

FILE = "dcss-tiles32.zip"


class Config(PixelConfig):
    name: Literal["dcss-tiles32"] = "dcss-tiles32"
    """Sprites of a game."""
    size: int = Field(32, ge=8, le=32)
    """Pixels a side."""


def open(config: Config) -> Dataset:
    """Raises GenctlError: no-input, permission, data-format, data-empty, data-bad, limit, config."""
    place = find("dcss-tiles32", config.path, f"{FILE}, or folders of pictures")
    path = place / FILE if (place / FILE).exists() else place
    return images.open(images.Config(**{**config.model_dump(), "name": "images", "path": str(path)}))
