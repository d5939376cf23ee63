"""Photographs of the usual measure of super-resolution: eight of Kodak and the fourteen of Set14 to train on, the five of Set5 to test.

Set5: Bevilacqua et al. 2012, https://doi.org/10.5244/C.26.135; Set14: Zeyde, Elad and Protter 2010; Kodak's suite of true colour
photographs. A folder with `kodak-train`, `Set5/x4` and `Set14/x4`, whose full-sized pictures end in `_HR`. The small ones that lie beside
them are not read: `spoiled` makes them, and other sizes, in the same way.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field
from torch import Tensor

from genctl.data import Dataset, find, photos

FOLDERS = {"kodak": ("kodak-train", ""), "set5": ("Set5/x4", "_HR"), "set14": ("Set14/x4", "_HR")}
Part = Literal["kodak", "set5", "set14"]


class Config(photos.SquareConfig):
    name: Literal["super-resolution"] = "super-resolution"
    """Photographs of Kodak, Set14 and Set5."""
    train: list[Part] = Field(default=["kodak", "set14"])
    """What is trained on."""
    test: Part = "set5"
    """What is tested on."""


def open(config: Config) -> Dataset:
    """Raises GenctlError: no-input, permission, data-format, data-empty, data-bad."""
    root = find("super-resolution", config.path, "folders kodak-train, Set5 and Set14")
    train = [photo for part in config.train for photo in _read(root, part)]
    return photos.squares(config, train, _read(root, config.test))


def _read(root: Path, part: str) -> list[Tensor]:
    folder, ending = FOLDERS[part]
    return photos.read(str(root / folder), 3, ends=ending)[0]
