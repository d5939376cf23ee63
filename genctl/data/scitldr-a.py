"""SciTLDR-A: abstracts of papers beside summaries in one sentence: 1,992 to train, 619 to validate, 618 to test, these with several summaries.

Cachola et al. 2020, https://arxiv.org/abs/2004.15011 (Apache License 2.0). The first summary is x; scorers take the one that fits best.
"""

import json
from pathlib import Path
from typing import Any, Literal

from genctl.data import Dataset
from genctl.data._cells import inside, lines
from genctl.data._sides import Pair, SidesConfig, dataset
from genctl.errors import GenctlError, safe_text


class Config(SidesConfig):
    name: Literal["scitldr-a"] = "scitldr-a"
    """Abstracts and their summaries."""


def open(config: Config) -> Dataset:
    """Raises GenctlError: no-input, permission, data-format, data-encoding, data-empty, data-bad."""
    return dataset(config, [pairs(p) for p in inside("scitldr-a", config.path, *(f"{n}.jsonl.gz" for n in ("train", "dev", "test")))])


def pairs(path: Path) -> list[Pair]:
    found = []
    for number, line in enumerate(lines(path), 1):
        try:
            tree = json.loads(line)
            found.append((joined(tree["source"]), tuple(joined([t]) for t in tree["target"])))
        except (ValueError, KeyError, TypeError, RecursionError):
            raise GenctlError("data-format", f"{safe_text(path.name)}: line {number} is no abstract with its summaries") from None
    return found


def joined(sentences: list[Any]) -> str:
    """In one line, one space between words. Raises TypeError for what is not text."""
    return " ".join(" ".join(sentences).split())
