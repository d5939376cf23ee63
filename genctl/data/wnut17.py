"""WNUT-17: entities that are new in posts and comments, of six types; 3,394 sentences to train, 1,009 to validate, 1,287 to test.

Derczynski et al. 2017, https://aclanthology.org/W17-4418. Training posts are of Twitter, the others of YouTube, Stack Exchange and Reddit as well.
"""

from typing import Literal

from genctl.data import Dataset
from genctl.data._cells import inside
from genctl.data._labelled import ReadConfig
from genctl.data._tagged import dataset, sentences


class Config(ReadConfig):
    name: Literal["wnut17"] = "wnut17"
    """New entities in posts."""


def open(config: Config) -> Dataset:
    """Raises GenctlError: no-input, data-format, data-encoding, data-empty."""
    return dataset(config, [sentences(path) for path in inside("wnut17", config.path, "train.conll", "dev.conll", "test.conll")])
