"""A folder of images and labels in four IDX files, as MNIST, EMNIST and Fashion-MNIST come.

The files' names are MNIST's: train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz and the same with t10k.
"""

from typing import Literal

from genctl.data import Dataset, find
from genctl.data._idx import WANTS, IdxConfig, open_folder


class Config(IdxConfig):
    name: Literal["idx"] = "idx"
    """IDX files."""
    path: str
    """The folder."""


def open(config: Config) -> Dataset:
    """Raises GenctlError: no-input, permission, data-format, data-empty, data-mismatch, config."""
    return open_folder(find("idx", config.path, WANTS), config)
