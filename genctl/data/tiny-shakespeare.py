"""Tiny Shakespeare: 1,115,394 characters of the plays, 65 distinct.

Karpathy 2015, https://github.com/karpathy/char-rnn. Split as in nanoGPT (https://github.com/karpathy/nanoGPT): the first 90 % are
for training, the last 10 % for validation. No test part is published: `test` is the validation part again.
"""

from typing import Literal

from genctl.data import Dataset, find
from genctl.data._tokens import TextConfig, dataset, read

WANTS = "input.txt"


class Config(TextConfig):
    name: Literal["tiny-shakespeare"] = "tiny-shakespeare"
    """Plays of Shakespeare."""


def open(config: Config) -> Dataset:
    """Raises GenctlError: no-input, permission, data-encoding, data-empty."""
    place = find("tiny-shakespeare", config.path, WANTS)
    return dataset(config, read(place / WANTS if place.is_dir() else place), valid=0.1, test=0.0)
