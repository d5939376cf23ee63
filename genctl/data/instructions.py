"""Instructions and answers: 1,100 small tasks with which a book tunes a language model; 935 to train, 55 to validate, 110 to test, as there.

Raschka 2024, Build a Large Language Model (From Scratch), chapter 7, https://github.com/rasbt/LLMs-from-scratch (Apache License 2.0).
"""

import json
from pathlib import Path
from typing import Literal

from genctl.data import Dataset
from genctl.data._cells import inside
from genctl.data._dialogue import Dialogue, DialogueConfig, dataset, heard
from genctl.data._tokens import read
from genctl.errors import GenctlError, safe_text

TRAIN, TEST = 0.85, 0.1  # shares, in the order of the file; the rest is the validation part


class Config(DialogueConfig):
    name: Literal["instructions"] = "instructions"
    """Tasks that a user sets, and what to answer."""


def open(config: Config) -> Dataset:
    """Raises GenctlError: no-input, permission, data-format, data-encoding, data-empty, limit."""
    (path,) = inside("instructions", config.path, "instruction-data.json")
    found = tasks(path)
    a, b = int(len(found) * TRAIN), int(len(found) * TRAIN) + int(len(found) * TEST)
    return dataset(config, [found[:a], found[b:], found[a:b]])


def tasks(path: Path) -> list[Dialogue]:
    """The input stands in a line of its own below the instruction."""
    try:
        trees = json.loads(read(path))
        return [
            heard([{"role": "user", "text": f"{t['instruction']}\n{t['input']}"}, {"role": "agent", "text": t["output"]}]) for t in trees
        ]
    except (ValueError, KeyError, TypeError, RecursionError) as e:
        raise GenctlError("data-format", f"{safe_text(path)}: no list of instructions: {type(e).__name__} {safe_text(e)}") from None
