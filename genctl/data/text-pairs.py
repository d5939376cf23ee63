"""Your own pairs of texts: two columns of a .csv, .tsv or .jsonl, or a folder with two files that belong together line by line."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from genctl.data import Dataset, find, holdout
from genctl.data._cells import columns
from genctl.data._sides import Pair, SidesConfig, aligned, dataset
from genctl.errors import GenctlError, safe_text


class Config(SidesConfig):
    name: Literal["text-pairs"] = "text-pairs"
    """Your own pairs of texts."""
    source: str = "source"
    """The column, or the file in the folder, of what is read."""
    target: str = "target"
    """The column, or the file in the folder, of what is written."""
    valid: float = Field(0.1, ge=0, lt=1)
    """The share held out for validation."""
    test: float = Field(0.1, ge=0, lt=1)
    """The share held out for testing."""
    split_seed: int = Field(0, ge=0, lt=2**63)
    """The seed of what is held out."""


def open(config: Config) -> Dataset:
    """Raises GenctlError: no-input, permission, data-format, data-encoding, data-empty, data-bad, data-mismatch, limit, config."""
    if not config.path:
        raise GenctlError("config", "data.path: data 'text-pairs' needs a .csv, .tsv or .jsonl, or a folder of two files", "data.path=FILE")
    place = find("text-pairs", config.path, "pairs of texts")
    pairs = (
        in_folder(place, config) if place.is_dir() else [(a.strip(), (b.strip(),)) for a, b in columns(place, config.source, config.target)]
    )
    parts = holdout(len(pairs), config.valid, config.test, seed=config.split_seed)
    return dataset(config, [[pairs[i] for i in index.tolist()] for index in parts])


def in_folder(folder: Path, config: Config) -> list[Pair]:
    """Line by line. Raises GenctlError (no-input, data-mismatch)."""
    paths = [folder / name for name in (config.source, config.target)]
    for key, path in zip(("source", "target"), paths, strict=True):
        if not path.is_file():
            raise GenctlError("no-input", f"data.{key}: nothing at {safe_text(path)}", f"data.{key}=NAME of a file in the folder")
    return aligned(*paths)
