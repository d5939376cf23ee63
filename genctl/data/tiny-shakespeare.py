"""Tiny Shakespeare: 1,115,394 characters of the plays, 65 distinct.

Karpathy 2015, https://github.com/karpathy/char-rnn. Split as in nanoGPT (https://github.com/karpathy/nanoGPT): the first 90 % are
for training, the last 10 % for validation. No test part is published: `test` is the validation part again.
"""

from typing import Literal

from genctl.data import Dataset, find
from genctl.data._tokens import TextConfig, dataset, read, shares

WANTS = "input.txt"

REMOTE = {  # file: (mirrors, size and sha256)
    "input.txt": (
        ["https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"],
        1_115_394,
        "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    )
}


class Config(TextConfig):
    name: Literal["tiny-shakespeare"] = "tiny-shakespeare"
    """Plays of Shakespeare."""


def open(config: Config) -> Dataset:
    """Raises GenctlError: no-input, permission, data-encoding, data-empty."""
    place = find("tiny-shakespeare", config.path, WANTS)
    return dataset(config, shares(config, read(place / WANTS if place.is_dir() else place), valid=0.1, test=0.0))
