"""Repairs: sentences with mistakes of grammar that were put into them, beside what they were: captions of Multi30k, or lines of your own.

Made mistakes teach to mend real ones: Grundkiewicz et al. 2019, https://aclanthology.org/W19-4427. Which are made depends on the sentence and the
seed alone, so that a set is always the same.
"""

import random
import zlib
from typing import Literal

from pydantic import Field

from genctl.data import Dataset, find, holdout
from genctl.data._cells import inside, lines
from genctl.data._sides import Pair, SidesConfig, dataset

SMALL = ("a", "an", "the", "in", "on", "at", "of", "to", "with", "for", "by")  # words that are left out or taken for one another
FORMS = {
    a: b for pair in (("is", "are"), ("was", "were"), ("has", "have"), ("his", "her"), ("this", "these")) for a, b in (pair, pair[::-1])
}


class Config(SidesConfig):
    name: Literal["repairs"] = "repairs"
    """Sentences with mistakes, and without."""
    path: str | None = None
    """A text of your own, a sentence a line."""
    rate: float = Field(0.15, ge=0, le=1)
    """The share of words with a mistake."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Of the mistakes."""


def open(config: Config) -> Dataset:
    """Raises GenctlError: no-input, permission, data-encoding, data-empty, limit."""
    if config.path:
        whole = [line.strip() for line in lines(find(config.name, config.path, "a sentence a line")) if line.strip()]
        parts = [[whole[i] for i in index.tolist()] for index in holdout(len(whole), 0.1, 0.1)]
    else:
        files = inside("multi30k-en-de", None, *(f"{part}.en.gz" for part in ("train", "val", "test_2016_flickr")))
        parts = [[line.strip() for line in lines(file)] for file in files]
    return dataset(config, [[pair(line, config) for line in part] for part in parts])


def pair(line: str, config: Config) -> Pair:
    dice = random.Random(zlib.crc32(line.encode()) + config.seed)
    return spoiled(line.split(), config.rate, dice) or line, (line,)


def spoiled(words: list[str], rate: float, dice: random.Random) -> str:
    """Each word as it was, or with a mistake: left out, another small word, another form, or behind the next word."""
    out, swap = [], ""
    for word in words:
        wrong = dice.random() < rate
        low = word.lower()
        if swap:
            out += [word, swap]
            swap = ""
        elif not wrong:
            out.append(word)
        elif low in SMALL:
            out += dice.choice(([], [dice.choice(SMALL)]))
        elif low in FORMS:
            out.append(FORMS[low])
        elif len(word) > 3 and word.isalpha():
            out.append(dice.choice((word[:-1] if low.endswith("s") else f"{word}s", f"{word[0]}{word[2]}{word[1]}{word[3:]}")))
        else:
            swap = word
    return " ".join([*out, *([swap] if swap else [])])
