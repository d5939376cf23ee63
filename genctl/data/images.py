"""A folder or a zip of pictures; the folders inside are the classes, or the splits, or the splits and then the classes.

Nothing is unpacked. How a file becomes a tensor: genctl/data/_picture.py. Files that cannot be read are skipped, the same ones
every time, named in a warning; more than `max_bad` of them is an error.
"""

import os
import stat
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Literal

import torch
from pydantic import Field
from torch import Tensor

from genctl.data import Dataset, find, holdout
from genctl.data._picture import SUFFIXES, Unusable, decode
from genctl.data._pixels import PixelConfig, dataset
from genctl.data._zip import MAX_MEMBERS, files, open_zip
from genctl.errors import GenctlError, safe_text

MAX_BYTES = 16 * 2**30  # of all pictures in memory
SPLITS = {"train": "train", "valid": "valid", "val": "valid", "validation": "valid", "test": "test"}


class Config(PixelConfig):
    name: Literal["images"] = "images"
    """Pictures in a folder or a zip."""
    path: str
    """The folder or zip."""
    size: int = Field(32, ge=1, le=4096)
    """Every picture becomes a square of so many pixels a side."""
    channels: Literal[1, 3] = 3
    """1: grey, 3: RGB."""
    folder: str = ""
    """Only what lies in this folder of it, as in color or photos/small."""
    valid: float = Field(0.1, ge=0, lt=1)
    """The share held out for validation, where no folders named train, valid and test say."""
    test: float = Field(0.1, ge=0, lt=1)
    """The share held out for testing, likewise."""
    split_seed: int = Field(0, ge=0, lt=2**63)
    """The seed of what is held out."""
    max_bad: float = Field(0.01, ge=0, le=1)
    """The largest share of unreadable pictures to skip; one is always let pass."""


@dataclass(frozen=True)
class Item:
    """One picture: where it lies, and how to open it."""

    place: PurePosixPath
    open: Callable[[], IO[bytes]]


def open(config: Config) -> Dataset:
    """Raises GenctlError: no-input, permission, data-format, data-empty, data-bad, limit."""
    source = find("images", config.path, "pictures")
    with ExitStack() as stack:
        found = list(in_folder(source) if source.is_dir() else in_zip(stack.enter_context(open_zip(source))))
        items, others = chosen(found, config.folder)
        if len(items) * config.channels * config.size**2 > MAX_BYTES:
            raise GenctlError(
                "limit", f"{safe_text(source)}: {len(items):,} pictures of {config.size} pixels do not fit", "a smaller data.size"
            )
        x, kept, bad = decoded(items, config)
    if not kept:
        many = sum(others.values())
        kinds = ", ".join(f"{safe_text(k, 12) or 'no suffix'} {v}" for k, v in others.most_common(5))
        said = [f"{many} files of other kinds: {kinds}"] * bool(many) + [f"{len(bad)} unreadable: {'; '.join(bad[:5])}"] * bool(bad)
        raise GenctlError("data-empty", f"0 usable images in {safe_text(source)}" + (f" ({'; '.join(said)})" if said else ""))
    if len(bad) > max(1, config.max_bad * len(items)):
        what = f"{safe_text(source)}: {len(bad)} of {len(items)} images are unreadable: {'; '.join(bad[:5])}"
        raise GenctlError("data-bad", what, "mend or remove them, or raise data.max_bad")
    notes = [f"warning[data-bad]: {len(bad)} of {len(items)} images skipped: {'; '.join(bad[:5])}"] if bad else []
    if len(kept) == 1:
        notes.append("warning[data-few]: one image is its own validation and test")
    return _split(config, x, _beneath([i.place.parent for i in kept]), tuple(notes))


# --- where the pictures are ---


def in_folder(root: Path) -> Iterator[Item]:
    """Regular files, in an order that does not depend on the file system; links to folders are not followed."""
    count = 0
    for folder, below, names in os.walk(root):
        below.sort()
        for name in sorted(names):
            path = Path(folder) / name
            try:
                regular = stat.S_ISREG(path.stat().st_mode)
            except OSError:
                continue
            count += 1
            if count > MAX_MEMBERS:
                raise GenctlError("limit", f"{safe_text(root)}: more than {MAX_MEMBERS:,} files")
            if regular and not name.startswith("."):
                yield Item(PurePosixPath(path.relative_to(root).as_posix()), lambda path=path: path.open("rb"))  # type: ignore[misc]


def in_zip(archive: zipfile.ZipFile) -> Iterator[Item]:
    for member in files(archive):
        yield Item(PurePosixPath(member.filename), lambda member=member: archive.open(member))  # type: ignore[misc]


def chosen(items: list[Item], folder: str) -> tuple[list[Item], Counter[str]]:
    """The pictures, by name, and how many files of each other suffix there are."""
    inside = PurePosixPath(folder) if folder else None
    here = sorted((i for i in items if inside is None or inside in i.place.parents), key=lambda i: str(i.place))
    pictures = [i for i in here if i.place.suffix.lower() in SUFFIXES]
    return pictures, Counter(i.place.suffix.lower() for i in here if i.place.suffix.lower() not in SUFFIXES)


def _beneath(parents: list[PurePosixPath]) -> list[tuple[str, ...]]:
    """The folders of each picture below what all have in common."""
    parts = [p.parts for p in parents]
    low, high = min(parts), max(parts)
    shared = next((k for k, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
    return [p[shared:] for p in parts]


# --- from files to splits ---


def decoded(items: list[Item], config: Config) -> tuple[Tensor, list[Item], list[str]]:
    """(pictures (N, C, S, S), their items, what was wrong with the others)."""
    pictures, kept, bad = each(items, config.size, config.channels)
    return torch.stack(pictures) if pictures else torch.empty(0), kept, bad


def each(items: list[Item], size: int | None, channels: int) -> tuple[list[Tensor], list[Item], list[str]]:
    """`decoded` one by one; size None: as large as they are."""
    pictures, kept, bad = [], [], []
    for item in items:
        try:
            with item.open() as stream:
                pictures.append(decode(stream, size, channels))
            kept.append(item)
        except (Unusable, OSError, zipfile.BadZipFile) as e:
            bad.append(f"{safe_text(item.place, 60)} ({safe_text(e, 80)})")
    return pictures, kept, bad


def _split(config: Config, x: Tensor, folders: list[tuple[str, ...]], notes: tuple[str, ...]) -> Dataset:
    published = {f[0] for f in folders if f} <= SPLITS.keys() and all(folders) and any(SPLITS[f[0]] == "train" for f in folders)
    below = [f[1:] for f in folders] if published else folders
    classes = sorted({f[0] for f in below if f})
    labelled = len(classes) > 1 and all(below)
    y = torch.tensor([classes.index(f[0]) for f in below]) if labelled else None
    if published:
        where = {s: torch.tensor([k for k, f in enumerate(folders) if SPLITS[f[0]] == s]) for s in ("train", "valid", "test")}
        parts = list(where.values())
        if not len(parts[1]):
            rest, valid = holdout(len(parts[0]), config.valid or 0.1, seed=config.split_seed)
            parts[:2] = [parts[0][rest], parts[0][valid]]
        if not len(parts[2]):
            parts[2] = parts[1]
    else:
        parts = holdout(len(x), config.valid, config.test, seed=config.split_seed)
    held = [(x[i], y[i] if y is not None else None) for i in parts]
    return dataset(config, held[0], held[1], held[2], classes=classes if labelled else None, notes=notes)
