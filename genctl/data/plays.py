"""Plays as dialogues: what one says to another in Tiny Shakespeare, a few turns at a time; the one who is learned says his name.

Karpathy 2015, https://github.com/karpathy/char-rnn. Every other speech is an agent's, as a character of a game who is spoken to. The first eight
tenths of the speeches are to train on, then one to validate and one to test with: our split.
"""

import itertools
import re
from typing import Literal

from pydantic import Field

from genctl.data import Dataset, find
from genctl.data._dialogue import Dialogue, DialogueConfig, dataset
from genctl.data._tokens import read
from genctl.errors import GenctlError, safe_text

SPEECH = re.compile(r"^([A-Z][A-Za-z' -]{1,40}):\n(.+?)(?=\n\n|\Z)", re.MULTILINE | re.DOTALL)


class Config(DialogueConfig):
    name: Literal["plays"] = "plays"
    """Plays, as dialogues of the characters."""
    turns: int = Field(2, ge=2, le=100)
    """Speeches that make a dialogue."""


def open(config: Config) -> Dataset:
    """Raises GenctlError: no-input, permission, data-encoding, data-empty, limit."""
    place = find("tiny-shakespeare", config.path, "input.txt")
    path = place / "input.txt" if place.is_dir() else place
    found = SPEECH.findall(read(path).decode().replace("\r\n", "\n"))
    cuts = [len(found) * k // 10 for k in (0, 8, 9, 10)]
    parts = [dialogues(found[a:b], config.turns) for a, b in itertools.pairwise(cuts)]
    if not all(parts):
        raise GenctlError(
            "data-empty", f"{safe_text(path)}: {len(found)} speeches are too few", "NAME: and a speech below it, then an empty line"
        )
    return dataset(config, parts)


def dialogues(speeches: list[tuple[str, str]], turns: int) -> list[Dialogue]:
    """One behind another; an odd last speech of a dialogue is left out."""
    turns -= turns % 2
    rows = [(("user", said), ("agent", f"{name.title()}: {reply}")) for (_, said), (name, reply) in zip(speeches[::2], speeches[1::2])]
    pairs = turns // 2
    return [[turn for row in rows[i : i + pairs] for turn in row] for i in range(0, len(rows), pairs)]
