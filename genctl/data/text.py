"""Your own running text: a UTF-8 file, or a folder or zip of .txt files, cut into windows of characters or bytes."""

from typing import Literal

from pydantic import Field

from genctl.data import Dataset, find
from genctl.data._tokens import TextConfig, dataset, read, shares
from genctl.errors import GenctlError


class Config(TextConfig):
    name: Literal["text"] = "text"
    """Text from files."""
    valid: float = Field(0.1, gt=0, le=0.45)
    """The share of the text behind the training part that is the validation part."""
    test: float = Field(0.1, ge=0, le=0.45)
    """The share at the end that is the test part; 0: the validation part again."""


def open(config: Config) -> Dataset:
    """Raises GenctlError: no-input, permission, data-format, data-encoding, data-empty, limit, config."""
    if not config.path:
        raise GenctlError("config", "data.path: data 'text' needs a file, or a folder or zip of .txt files", "data.path=FILE")
    return dataset(config, shares(config, read(find("text", config.path, "UTF-8 text")), config.valid, config.test))
