"""Your own lines: a UTF-8 file, or a folder or zip of .txt files, each line of which is an example, character by character."""

from typing import Literal

from genctl.data import Dataset, find
from genctl.data._lines import LinesConfig, dataset
from genctl.data._tokens import read
from genctl.errors import GenctlError


class Config(LinesConfig):
    name: Literal["lines"] = "lines"
    """Lines of text from files."""


def open(config: Config) -> Dataset:
    """Raises GenctlError: no-input, permission, data-format, data-encoding, data-empty, limit, config."""
    if not config.path:
        raise GenctlError("config", "data.path: data 'lines' needs a file, or a folder or zip of .txt files", "data.path=FILE")
    return dataset(config, read(find("lines", config.path, "UTF-8 text")).decode())
