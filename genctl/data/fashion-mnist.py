"""Fashion-MNIST: 70,000 pictures of clothes of 28x28 grey levels, in ten classes.

Xiao, Rasul and Vollgraf 2017, https://arxiv.org/abs/1708.07747. Split as MNIST: 50,000, 10,000 (the last of the published
60,000) and 10,000.
"""

from typing import Literal

from genctl.data import Dataset, find
from genctl.data._idx import WANTS, IdxConfig, open_folder

CLASSES = ["t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"]


class Config(IdxConfig):
    name: Literal["fashion-mnist"] = "fashion-mnist"
    """Pictures of clothes."""


def open(config: Config) -> Dataset:
    """Raises GenctlError: no-input, permission, data-format, data-empty, data-mismatch, config."""
    return open_folder(find("fashion-mnist", config.path, WANTS), config, CLASSES)
