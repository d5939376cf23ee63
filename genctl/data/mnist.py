"""MNIST: 70,000 handwritten digits of 28x28 grey levels.

LeCun, Bottou, Bengio and Haffner 1998, Gradient-based learning applied to document recognition, http://yann.lecun.com/exdb/mnist.
Train 50,000, validation 10,000 (the last of the published 60,000, as in work on likelihoods), test 10,000; `data.valid=0` trains
on all 60,000 and validates on the test split.
"""

from typing import Literal

from genctl.data import Dataset, find
from genctl.data._idx import WANTS, IdxConfig, open_folder, remote

REMOTE = remote(
    (
        "https://ossci-datasets.s3.amazonaws.com/mnist",
        "https://storage.googleapis.com/cvdf-datasets/mnist",
    ),
    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
)


class Config(IdxConfig):
    name: Literal["mnist"] = "mnist"
    """Handwritten digits."""


def open(config: Config) -> Dataset:
    """Raises GenctlError: no-input, permission, data-format, data-empty, data-mismatch, config."""
    return open_folder(find("mnist", config.path, WANTS), config, [str(k) for k in range(10)])
