"""Tagged words of your own: a word and its tag a line, an empty line behind each sentence, as in the files of CoNLL."""

from typing import Literal

from genctl.data import Dataset, find, holdout
from genctl.data._labelled import SharesConfig
from genctl.data._tagged import dataset, sentences


class Config(SharesConfig):
    name: Literal["conll"] = "conll"
    """Your own tagged words."""


def open(config: Config) -> Dataset:
    """Raises GenctlError: no-input, permission, data-format, data-encoding, data-empty, limit."""
    found = sentences(find("conll", config.path, "a file of words and tags"))
    parts = holdout(len(found), config.valid, config.test, seed=config.split_seed)
    return dataset(config, [[found[i] for i in index.tolist()] for index in parts])
