"""MNIST: 70,000 handwritten digits of 28x28 grey levels.

LeCun, Bottou, Bengio and Haffner 1998, Gradient-based learning applied to document recognition, http://yann.lecun.com/exdb/mnist.
Train 50,000, validation 10,000 (the last of the published 60,000, as in work on likelihoods), test 10,000; `data.valid=0` trains
on all 60,000 and validates on the test split.
"""

from typing import Literal

from genctl.data import Dataset, find
from genctl.data._idx import WANTS, IdxConfig, open_folder


class Config(IdxConfig):
    name: Literal["mnist"] = "mnist"
    """Handwritten digits."""


def open(config: Config) -> Dataset:
    """Raises GenctlError: no-input, permission, data-format, data-empty, data-mismatch, config."""
    return open_folder(find("mnist", config.path, WANTS), config, [str(k) for k in range(10)])
