"""Your own dialogues: a .jsonl of objects {"turns": [{"role": "user", "text": ...}, ...]}, or "messages" and "content" as OpenAI has them."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from genctl.data import Dataset, find, holdout
from genctl.data._cells import objects
from genctl.data._dialogue import Dialogue, DialogueConfig, dataset, heard
from genctl.errors import GenctlError, safe_text

EXAMPLE = '{"turns": [{"role": "user", "text": ...}, {"role": "agent", "text": ...}]}'


class Config(DialogueConfig):
    name: Literal["dialogues"] = "dialogues"
    """Your own dialogues."""
    valid: float = Field(0.1, ge=0, lt=1)
    """The share held out for validation."""
    test: float = Field(0.1, ge=0, lt=1)
    """The share held out for testing."""
    split_seed: int = Field(0, ge=0, lt=2**63)
    """The seed of what is held out."""


def open(config: Config) -> Dataset:
    """Raises GenctlError: no-input, permission, data-format, data-encoding, data-empty, limit, config."""
    if not config.path:
        raise GenctlError("config", "data.path: data 'dialogues' needs a .jsonl", "data.path=FILE")
    found = dialogues(find("dialogues", config.path, "a .jsonl of dialogues"))
    parts = holdout(len(found), config.valid, config.test, seed=config.split_seed)
    return dataset(config, [[found[i] for i in index.tolist()] for index in parts])


def dialogues(path: Path) -> list[Dialogue]:
    """One a line. Raises GenctlError (data-format, and what reading raises)."""
    found = []
    for number, tree in objects(path, EXAMPLE):
        try:
            found.append(heard(tree.get("turns", tree.get("messages"))))
        except ValueError as e:
            raise GenctlError("data-format", f"{safe_text(path)}: line {number}: {e}", f"one object a line: {EXAMPLE}") from None
    return found
