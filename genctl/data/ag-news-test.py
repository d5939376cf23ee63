"""AG News, test part: titles and beginnings of news in four topics; our split: 6,000 to train, 800 to validate, 800 to test.

Zhang et al. 2015, https://arxiv.org/abs/1509.01626. Figures that others report are of models trained on the 120,000 of its training part.
"""

import itertools
from typing import Literal

from genctl.data import Dataset
from genctl.data._cells import cells, inside
from genctl.data._labelled import ReadConfig, dataset

NAMES = ["World", "Sports", "Business", "Sci/Tech"]
CUTS = (0, 6_000, 6_800, 7_600)


class Config(ReadConfig):
    name: Literal["ag-news-test"] = "ag-news-test"
    """News in four topics."""


def open(config: Config) -> Dataset:
    """Raises GenctlError: no-input, data-format, data-encoding, data-empty."""
    (path,) = inside("ag-news-test", config.path, "test.csv.gz")
    topic = {str(i + 1): name for i, name in enumerate(NAMES)}
    rows = [(f"{title}. {text}".replace("\\", " "), topic.get(kind, kind)) for kind, title, text in cells(path, 3)]
    return dataset(config, [rows[a:b] for a, b in itertools.pairwise(CUTS)], NAMES)
