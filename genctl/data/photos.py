"""Photographs of any size, cut into squares: to train on, random ones; held out, those of a grid; the test pictures also whole.

How a file becomes a tensor: genctl/data/_picture.py.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from genctl.contract import Batch, Spec
from genctl.data import DataConfig, Dataset, Split, find, fingerprint, holdout, images
from genctl.data._zip import open_zip
from genctl.errors import GenctlError, safe_text
from genctl.maths import noise

MAX_BYTES = 16 * 2**30  # of all photographs in memory


class SquareConfig(DataConfig):
    """The keys of every set of squares cut from larger pictures."""

    size: int = Field(96, ge=8, le=4096)
    """Pixels a side of a square."""
    flip: bool = False
    """Mirror training squares left to right at random."""
    turn: bool = False
    """Turn training squares by quarters at random."""
    valid: float = Field(0.1, ge=0, lt=1)
    """The share of the training photographs, one at least, that validation squares are cut from."""
    split_seed: int = Field(0, ge=0, lt=2**63)
    """The seed of which those are."""


class Config(SquareConfig):
    name: Literal["photos"] = "photos"
    """Squares of photographs."""
    path: str
    """A folder or zip of photographs of any size."""
    channels: Literal[1, 3] = 3
    """1: grey, 3: RGB."""
    test: float = Field(0.1, ge=0, lt=1)
    """The share of the photographs that are test pictures, where no folder of them is named."""
    test_path: str = ""
    """A folder or zip of test pictures."""
    max_bad: float = Field(0.01, ge=0, le=1)
    """The largest share of unreadable pictures to skip; one is always let pass."""


def open(config: Config) -> Dataset:
    """Raises GenctlError: no-input, permission, data-format, data-empty, data-bad, limit."""
    photos, notes = read(config.path, config.channels, config.max_bad)
    if config.test_path:
        test, more = read(config.test_path, config.channels, config.max_bad)
        return squares(config, photos, test, notes + more)
    rest, held = holdout(len(photos), config.test, seed=config.split_seed)
    return squares(config, [photos[i] for i in rest], [photos[i] for i in held], notes)


def read(path: str, channels: int, max_bad: float = 0.01, begins: str = "", ends: str = "") -> tuple[list[Tensor], tuple[str, ...]]:
    """Every picture (C, H, W) of a folder or zip as large as it is, in the order of their names, and warnings.

    begins, ends    only names that do so, the suffix left out
    """
    root = find("photos", path, "photographs")
    with ExitStack() as stack:
        found = list(images.in_folder(root) if root.is_dir() else images.in_zip(stack.enter_context(open_zip(root))))
        items = [i for i in images.chosen(found, "")[0] if i.place.stem.startswith(begins) and i.place.stem.endswith(ends)]
        photos, _, bad = images.each(items, None, channels)
    if not photos:
        raise GenctlError("data-empty", f"0 usable images in {safe_text(root)}" + (f" ({'; '.join(bad[:5])})" if bad else ""))
    if len(bad) > max(1, max_bad * len(items)):
        what = f"{safe_text(root)}: {len(bad)} of {len(items)} images are unreadable: {'; '.join(bad[:5])}"
        raise GenctlError("data-bad", what, "mend or remove them, or raise data.max_bad")
    if sum(p.numel() for p in photos) > MAX_BYTES:
        raise GenctlError("limit", f"{safe_text(root)}: {len(photos):,} photographs do not fit", "fewer or smaller ones")
    return photos, (f"warning[data-bad]: {len(bad)} of {len(items)} images skipped: {'; '.join(bad[:5])}",) if bad else ()


def squares(config: SquareConfig, photos: list[Tensor], test: list[Tensor], notes: tuple[str, ...] = ()) -> Dataset:
    """Training and test photographs (C, H, W) of bytes as a Dataset of squares. Raises GenctlError (data-empty)."""
    large = [p for p in photos if min(p.shape[1:]) >= config.size]
    if not large:
        raise GenctlError("data-empty", f"no photograph is {config.size} pixels wide and high", "a smaller data.size")
    if left := len(photos) - len(large):
        notes = (*notes, f"warning[data-small]: {left} photographs smaller than {config.size} pixels are left out")
    rest, held = holdout(len(large), config.valid, seed=config.split_seed)
    train, valid = [large[i] for i in rest], [large[i] for i in held]
    held_out = [p for p in test if min(p.shape[1:]) >= config.size] or valid

    def whole() -> Iterator[Batch]:
        for photo in test:
            yield Batch(x=photo[None].float() / 255)

    spec = Spec(shape=(train[0].shape[0], config.size, config.size), levels=256, media="image")
    return Dataset(
        spec, _random(config, train).first(config.limit), _grid(config.size, valid), _grid(config.size, held_out), None, notes, whole
    )


def _random(config: SquareConfig, photos: list[Tensor]) -> Split:
    """As many squares as would tile the photographs, each at a place of its photograph that is drawn anew at every use."""
    of = torch.tensor([k for k, p in enumerate(photos) for _ in range((p.shape[1] // config.size) * (p.shape[2] // config.size))])

    def get(index: Tensor) -> Batch:
        place = noise.rand(len(index), 4)
        x = torch.stack([_square(photos[k], config.size, *u[:2]) for k, u in zip(of[index].tolist(), place.tolist(), strict=True)])
        out = x.float() / 255
        if config.flip:
            out = torch.where((place[:, 2] < 0.5)[:, None, None, None], out.flip(-1), out)
        if config.turn:
            quarters = (4 * place[:, 3]).long()
            out = torch.stack([o.rot90(int(k), (1, 2)) for o, k in zip(out, quarters, strict=True)])
        return Batch(x=out)

    return Split(len(of), get, lambda: f"{fingerprint(*photos)}-{config.size}")


def _square(photo: Tensor, size: int, down: float, right: float) -> Tensor:
    """At fractions of the way down and to the right."""
    top, left = int(down * (photo.shape[1] - size + 1)), int(right * (photo.shape[2] - size + 1))
    return photo[:, top : top + size, left : left + size]


def _grid(size: int, photos: list[Tensor]) -> Split:
    """The squares of a grid over the middle of each photograph."""
    found = []
    for p in photos:
        down, across = p.shape[1] // size, p.shape[2] // size
        top, left = (p.shape[1] - down * size) // 2, (p.shape[2] - across * size) // 2
        found += [p[:, top + i * size :, left + j * size :][:, :size, :size] for i in range(down) for j in range(across)]
    x = torch.stack(found)
    return Split(len(x), lambda index: Batch(x=x[index].float() / 255), lambda: fingerprint(x))
