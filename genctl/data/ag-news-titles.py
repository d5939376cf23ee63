"""AG News, test part: beginnings of news beside their titles; our split: 6,000 to train, 800 to validate, 800 to test.

Zhang et al. 2015, https://arxiv.org/abs/1509.01626. The part of 120,000 on which others train is another file.
"""

import html
import itertools
import re
from typing import Literal

from genctl.data import Dataset
from genctl.data._cells import cells, inside
from genctl.data._sides import SidesConfig, dataset

CUTS = (0, 6_000, 6_800, 7_600)


class Config(SidesConfig):
    name: Literal["ag-news-titles"] = "ag-news-titles"
    """Beginnings of news and their titles."""


def open(config: Config) -> Dataset:
    """Raises GenctlError: no-input, permission, data-format, data-encoding, data-empty, data-bad."""
    (path,) = inside("ag-news-test", config.path, "test.csv.gz")
    pairs = [(plain(text), (plain(title),)) for _, title, text in cells(path, 3)]
    return dataset(config, [pairs[a:b] for a, b in itertools.pairwise(CUTS)])


def plain(text: str) -> str:
    """Line breaks are written as backslashes in this file, and entities of HTML without their ampersand or as they are."""
    whole = re.sub(r"(?<![&\w])(#\d{1,5};|(?:lt|gt|amp|quot);)", r"&\1", text.replace("\\", " "))
    return " ".join(re.sub(r"<[^<>]*>", " ", html.unescape(whole)).split())
