"""SST-2: sentences of film reviews, positive or negative; 6,920 to train, 872 to validate, 1,821 to test, in small letters.

Socher et al. 2013, https://aclanthology.org/D13-1170; the sentences alone, without the phrases they are made of.
"""

from typing import Literal

from genctl.data import Dataset
from genctl.data._cells import cells, inside
from genctl.data._labelled import ReadConfig, dataset

FILES = ("train.tsv", "dev.tsv", "test.tsv")
NAMES = ["negative", "positive"]


class Config(ReadConfig):
    name: Literal["sst2"] = "sst2"
    """Sentences of film reviews."""


def open(config: Config) -> Dataset:
    """Raises GenctlError: no-input, data-format, data-encoding, data-empty."""
    split = [cells(path, 2, "\t", quoted=False) for path in inside("sst2", config.path, *FILES)]
    return dataset(config, [[(text, NAMES[int(kind)] if kind in ("0", "1") else kind) for text, kind in rows] for rows in split], NAMES)
