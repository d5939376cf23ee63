"""Pairs of pictures: two folders, on disk or in a zip, in which what belongs together has one name.

Splits are by name, so that a picture is where it was when others are added: of the sorted names every tenth is a test pair, and the one
behind it a validation pair. How a file becomes a tensor: genctl/data/_picture.py.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from genctl.contract import Batch, Spec
from genctl.data import DataConfig, Dataset, Split, find, fingerprint, images
from genctl.data._zip import open_zip
from genctl.errors import GenctlError, safe_text
from genctl.maths import noise


class Config(DataConfig):
    name: Literal["pairs"] = "pairs"
    """Pairs of pictures."""
    path: str
    """The folder or zip that holds the two folders."""
    source: str = "source"
    """The folder of what is translated from."""
    target: str = "target"
    """The folder of what is translated to."""
    size: int = Field(64, ge=8, le=4096)
    """Every picture becomes a square of so many pixels a side."""
    channels: Literal[1, 3] = 3
    """Of targets: 1 grey, 3 RGB."""
    source_channels: Literal[1, 3] = 3
    """Of sources."""
    flip: bool = False
    """Mirror training pairs left to right at random, both alike."""
    max_bad: float = Field(0.01, ge=0, le=1)
    """The largest share of unreadable pictures to skip; one is always let pass."""


def open(config: Config, kind: Mapping[str, str] | None = None) -> Dataset:
    """x: the target; `source` beside it. Raises GenctlError: no-input, permission, data-format, data-empty, data-bad, limit.

    kind    the class of each name, which stands beside it as `label`; names without one are of the class "other"
    """
    root = find("pairs", config.path, "two folders of pictures")
    with ExitStack() as stack:
        items = list(images.in_folder(root) if root.is_dir() else images.in_zip(stack.enter_context(open_zip(root))))
        source, target = (
            _read(items, images.Config(path=config.path, folder=folder, size=config.size, channels=c, max_bad=config.max_bad))
            for folder, c in ((config.source, config.source_channels), (config.target, config.channels))
        )
    names = sorted(source.keys() & target.keys())
    if len(names) < 3:
        what = f"{safe_text(root)}: {len(names)} names stand in both '{safe_text(config.source)}' and '{safe_text(config.target)}'"
        raise GenctlError("data-empty", what, "data.source and data.target name the two folders")
    alone = len(source.keys() ^ target.keys())
    notes = (f"warning[data-alone]: {alone} pictures have no counterpart, and are left out",) if alone else ()
    parts = by_name(names)
    kinds = {n: (kind or {}).get(n) or "other" for n in names}
    classes = sorted(set(kinds.values())) if kind else []

    def split(name: str) -> Split:
        both = [torch.stack([found[n] for n in parts[name]]) for found in (target, source)]
        label = {"label": torch.tensor([classes.index(kinds[n]) for n in parts[name]])} if classes else {}
        return _split(both[0], both[1], label, config.flip and name == "train")

    size = config.size
    beside = Spec(shape=(config.source_channels, size, size), levels=256, media="image")
    label = {"label": Spec(shape=(), vocab=len(classes), codec={"names": classes})} if classes else {}
    spec = Spec(shape=(config.channels, size, size), levels=256, given={"source": beside, **label}, media="image")
    return Dataset(spec, split("train").first(config.limit), split("valid"), split("test"), notes=notes)


def by_name(names: list[str]) -> dict[str, list[str]]:
    """Sorted names by split."""
    return {"train": [n for k, n in enumerate(names) if k % 10 > 1] or names, "valid": names[1::10], "test": names[::10]}


def _read(items: list[images.Item], config: images.Config) -> dict[str, Tensor]:
    """Name without suffix -> (C, S, S) bytes."""
    wanted, _ = images.chosen(items, config.folder)
    if not wanted:
        raise GenctlError("data-empty", f"no pictures in the folder '{safe_text(config.folder)}' of {safe_text(config.path)}")
    x, kept, bad = images.decoded(wanted, config)
    if len(bad) > max(1, config.max_bad * len(wanted)):
        what = f"{safe_text(config.folder)}: {len(bad)} of {len(wanted)} pictures are unreadable: {'; '.join(bad[:5])}"
        raise GenctlError("data-bad", what, "mend or remove them, or raise data.max_bad")
    return {item.place.stem: one for item, one in zip(kept, x, strict=True)}


def _split(target: Tensor, source: Tensor, beside: dict[str, Tensor], flip: bool) -> Split:
    def get(index: Tensor) -> Batch:
        both = target[index].float() / 255, source[index].float() / 255
        if flip:
            mirrored = (noise.rand(len(index)) < 0.5)[:, None, None, None]
            both = torch.where(mirrored, both[0].flip(-1), both[0]), torch.where(mirrored, both[1].flip(-1), both[1])
        return Batch(x=both[0], given={"source": both[1], **{k: v[index] for k, v in beside.items()}})

    return Split(len(target), get, lambda: fingerprint(target, source, *beside.values()))
