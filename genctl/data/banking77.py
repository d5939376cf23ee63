"""BANKING77: questions to a bank in 77 intents; 9,003 to train, 1,000 of the training part to validate, 3,080 to test.

Casanueva et al. 2020, https://arxiv.org/abs/2003.04807. What validates is ours: a fixed permutation.
"""

from typing import Literal

from genctl.data import Dataset, holdout
from genctl.data._cells import columns, inside
from genctl.data._labelled import ReadConfig, dataset


class Config(ReadConfig):
    name: Literal["banking77"] = "banking77"
    """Questions in 77 intents."""


def open(config: Config) -> Dataset:
    """Raises GenctlError: no-input, data-format, data-encoding, data-empty."""
    rows, test = (
        [(text, kind) for text, kind in columns(path, "text", "category")]
        for path in inside("banking77", config.path, "train.csv", "test.csv")
    )
    train, valid = ([rows[i] for i in index.tolist()] for index in holdout(len(rows), 1_000 / len(rows)))
    return dataset(config, [train, valid, test])
