"""XQuAD: questions to paragraphs of Wikipedia, English or German; our split by article: 33 to train, 5 to validate, 10 to test.

Artetxe et al. 2020, https://arxiv.org/abs/1910.11856. Figures that others report are of models trained on the 87,599 questions of SQuAD.
"""

import itertools
from typing import Literal

from genctl.data import Dataset
from genctl.data._cells import inside
from genctl.data._labelled import ReadConfig
from genctl.data._squad import articles, dataset

CUTS = (0, 33, 38, 48)


class Config(ReadConfig):
    name: Literal["xquad"] = "xquad"
    """Questions to paragraphs of Wikipedia."""
    language: Literal["en", "de"] = "en"
    """English or German."""


def open(config: Config) -> Dataset:
    """Raises GenctlError: no-input, data-format, data-encoding, data-empty."""
    (path,) = inside("xquad-en-de", config.path, f"xquad.{config.language}.json.gz")
    found = articles(path)
    return dataset(config, [[q for article in found[a:b] for q in article] for a, b in itertools.pairwise(CUTS)])
