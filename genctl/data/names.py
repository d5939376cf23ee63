"""Names: 32,033 first names given in the United States in 2018, 2 to 15 letters long.

Karpathy 2022, https://github.com/karpathy/makemore, after the list of the Social Security Administration. No split is published; ours
is a fixed permutation: 25,627 train, 3,203 validation, 3,203 test.
"""

from typing import Literal

from genctl.data import Dataset, find
from genctl.data._lines import LinesConfig, dataset
from genctl.data._tokens import read

WANTS = "names.txt"

REMOTE = {  # file: (mirrors, size and sha256)
    "names.txt": (
        ["https://raw.githubusercontent.com/karpathy/makemore/988aa59e4d8fefa526d06f3b453ad116258398d4/names.txt"],
        228_145,
        "0a30b5557f192f32ab962680889aac5f6fda0f4cecf40a6d0b5694f58ea8cc4d",
    )
}


class Config(LinesConfig):
    name: Literal["names"] = "names"
    """First names."""


def open(config: Config) -> Dataset:
    """Raises GenctlError: no-input, permission, data-encoding, data-empty."""
    place = find("names", config.path, WANTS)
    return dataset(config, read(place / WANTS if place.is_dir() else place).decode())
