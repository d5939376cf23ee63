"""Labelled texts of your own: a .csv or .tsv with a header, or a .jsonl, with a column of text and one of classes."""

from typing import Literal

from genctl.data import Dataset, find
from genctl.data._cells import columns
from genctl.data._labelled import SharesConfig, dataset, parts


class Config(SharesConfig):
    name: Literal["labelled"] = "labelled"
    """Your own texts and their classes."""
    text: str = "text"
    """The column of the text."""
    label: str = "label"
    """The column of the class."""


def open(config: Config) -> Dataset:
    """Raises GenctlError: no-input, permission, data-format, data-encoding, data-empty, data-bad, limit."""
    path = find("labelled", config.path, "a .csv, .tsv or .jsonl")
    return dataset(config, parts([(text, kind) for text, kind in columns(path, config.text, config.label)], config))
