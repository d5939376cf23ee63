"""Questions to texts of your own: the JSON of SQuAD v1.1; what is held out is held out by article."""

from typing import Literal

from genctl.data import Dataset, find, holdout
from genctl.data._labelled import SharesConfig
from genctl.data._squad import articles, dataset


class Config(SharesConfig):
    name: Literal["squad"] = "squad"
    """Your own questions to texts."""


def open(config: Config) -> Dataset:
    """Raises GenctlError: no-input, permission, data-format, data-encoding, data-empty, limit."""
    found = articles(find("squad", config.path, "a JSON file of SQuAD v1.1"))
    parts = holdout(len(found), config.valid, config.test, seed=config.split_seed)
    return dataset(config, [[q for i in index.tolist() for q in found[i]] for index in parts])
