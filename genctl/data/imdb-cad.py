"""IMDb-CAD: film reviews, positive or negative, as they were written or revised so that the sentiment flips; 1,707, 245 and 488.

Kaushik et al. 2020, https://arxiv.org/abs/1909.12434.
"""

from typing import Literal

from genctl.data import Dataset
from genctl.data._cells import columns, inside
from genctl.data._labelled import ReadConfig, dataset

NAMES = ["Negative", "Positive"]


class Config(ReadConfig):
    name: Literal["imdb-cad"] = "imdb-cad"
    """Film reviews."""
    part: Literal["orig", "new"] = "orig"
    """Reviews as they were written, or as they were revised."""


def open(config: Config) -> Dataset:
    """Raises GenctlError: no-input, data-format, data-encoding, data-empty."""
    files = inside("imdb-cad", config.path, *(f"{config.part}/{split}.tsv.gz" for split in ("train", "dev", "test")))
    split = [columns(path, "Text", "Sentiment") for path in files]
    return dataset(config, [[(text.replace("<br />", " "), kind) for text, kind in rows] for rows in split], NAMES)
