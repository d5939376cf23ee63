"""Taskmaster-4: 2,210 dialogues of a guest who orders coffee and an agent who takes the order: 1,800 to train, 200 to validate, 210 to test.

Byrne and Ganesh, released with PERL (2024), https://arxiv.org/abs/2403.10704, CC BY 4.0. The files 00 to 03 are divided by chance, 07 is the
test part: our split. One writer wrote both sides of a dialogue, and short ones repeat: 13 stand there twice, one of them in the test part.
"""

import json
from pathlib import Path
from typing import Literal

from genctl.data import Dataset, holdout
from genctl.data._cells import inside
from genctl.data._dialogue import Dialogue, DialogueConfig, dataset, heard
from genctl.data._tokens import read
from genctl.errors import GenctlError, safe_text

VALID = 0.1


class Config(DialogueConfig):
    name: Literal["taskmaster4-chat"] = "taskmaster4-chat"
    """Orders of coffee, turn by turn."""


def open(config: Config) -> Dataset:
    """Raises GenctlError: no-input, permission, data-format, data-encoding, data-empty, limit."""
    *files, last = inside("taskmaster4-chat", config.path, *(f"data_{n}.json.gz" for n in ("00", "01", "02", "03", "07")))
    found = [d for file in files for d in dialogues(file)]
    train, valid = holdout(len(found), VALID)
    return dataset(config, [[found[i] for i in train.tolist()], [found[i] for i in valid.tolist()], dialogues(last)])


def dialogues(path: Path) -> list[Dialogue]:
    try:
        trees = json.loads(read(path))
        return [heard([{"role": u["speaker"], "text": u["text"]} for u in tree["utterances"]]) for tree in trees]
    except (ValueError, KeyError, TypeError, RecursionError) as e:
        what = f"{safe_text(path)}: not the dialogues of Taskmaster-4: {type(e).__name__} {safe_text(e)}"
        raise GenctlError("data-format", what) from None
