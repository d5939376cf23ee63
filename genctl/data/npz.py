"""Arrays in an .npz (or one in an .npy): bytes are images, floats are numbers as they stand, other integers are symbols.

Names: `x` with `label` beside it, split here; or, as published, `train_images`, `train_labels` and the same with val or valid and
test (`_x` and `_y` will do). Images are (N, H, W), (N, H, W, C) or (N, C, H, W).
"""

from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from genctl.contract import Spec
from genctl.data import Dataset, find, holdout, tensors
from genctl.data._arrays import read
from genctl.data._pixels import PixelConfig, dataset
from genctl.errors import GenctlError, safe_text

X, Y = ("images", "x", "data"), ("labels", "label", "y")
SPLITS = (("train",), ("valid", "val"), ("test",))


class Config(PixelConfig):
    name: Literal["npz"] = "npz"
    """Arrays."""
    path: str
    """The file."""
    valid: float = Field(0.1, ge=0, lt=1)
    """The share held out for validation, where the file has no arrays for it."""
    test: float = Field(0.1, ge=0, lt=1)
    """The share held out for testing, likewise."""
    split_seed: int = Field(0, ge=0, lt=2**63)
    """The seed of what is held out."""


Part = tuple[Tensor, Tensor | None]


def open(config: Config) -> Dataset:
    """Raises GenctlError: no-input, permission, data-format, data-empty, data-mismatch, data-nonfinite."""
    path = find("npz", config.path, "an .npz")
    shown = safe_text(path)
    parts = _parts(read(path), config, path)
    like = parts[0][0]
    for x, _ in parts:
        if x.shape[1:] != like.shape[1:] or x.dtype is not like.dtype:
            raise GenctlError("data-mismatch", f"{shown}: its splits hold {list(like.shape[1:])} and {list(x.shape[1:])}")
    labels = [y for _, y in parts if y is not None]
    classes = int(max(y.max() for y in labels)) + 1 if labels else 0
    if like.dtype is torch.uint8 and like.ndim in (3, 4):
        names = [str(k) for k in range(classes)] if labels else None
        train, valid, test = ((_channels_first(x), y) for x, y in parts)
        return dataset(config, train, valid, test, classes=names)
    given = {"label": Spec(shape=(), vocab=classes)} if labels else {}
    notes: tuple[str, ...] = ()
    if like.is_floating_point():
        spec = Spec(shape=tuple(like.shape[1:]), given=given)
        if like.amin() == like.amax():
            notes = (f"warning[data-constant]: {shown}: every value is {like.flatten()[0].item():g}",)
    else:
        if min(int(x.min()) for x, _ in parts) < 0:
            raise GenctlError("data-format", f"{shown}: symbols are 0 or more", "floats are read as numbers")
        vocab = max(int(x.max()) for x, _ in parts) + 1
        spec = Spec(shape=tuple(like.shape[1:]), vocab=vocab, given=given)
        parts = [(x.long(), y) for x, y in parts]
    splits = [tensors(x, {"label": y} if y is not None else {}) for x, y in parts]
    return Dataset(spec, splits[0].first(config.limit), splits[1], splits[2], notes=notes)


def check_finite(x: Tensor, shown: str) -> None:
    """Raises GenctlError (data-nonfinite) that counts what is not a number."""
    bad = ~torch.isfinite(x)
    if bad.any():
        first = int(bad.flatten().nonzero()[0])
        raise GenctlError(
            "data-nonfinite",
            f"{shown}: {int(bad.sum()):,} of {x.numel():,} values are NaN or infinite (first at {first})",
            "clean the data",
        )


def _parts(arrays: dict[str, Tensor], config: Config, path: Path) -> list[Part]:
    """(x, labels or None) of the three splits."""

    def named(prefix: str) -> Part | None:
        x = next((arrays[prefix + k] for k in X if prefix + k in arrays), None)
        if x is None:
            return None
        if x.ndim < 2 or x.ndim > 5 or not x.numel():
            raise GenctlError("data-empty" if not x.numel() else "data-format", f"{safe_text(path)}: x has shape {list(x.shape)}")
        if x.is_floating_point():
            check_finite(x, safe_text(path))
        y = next((arrays[prefix + k] for k in Y if prefix + k in arrays), None)
        if y is not None:
            y = y.flatten().long()
            if len(y) != len(x) or y.min() < 0:
                raise GenctlError("data-mismatch", f"{safe_text(path)}: {len(x):,} examples, {len(y):,} labels from {int(y.min())}")
        return x, y

    found = [next((p for stem in stems if (p := named(f"{stem}_"))), None) for stems in SPLITS]
    train = found[0] or named("")
    if train is None:
        names = ", ".join(safe_text(k, 30) for k in list(arrays)[:6]) or "nothing"
        raise GenctlError(
            "data-format", f"{safe_text(path)}: holds {names}", "name the array x, or train_images, valid_images, test_images"
        )
    wanted = [k for k in (1, 2) if found[k] is None]
    share = [(config.valid, config.test)[k - 1] for k in wanted]
    x, y = train
    rest, *held = holdout(len(x), *share, seed=config.split_seed)
    out: list[Part] = [(x[rest], y[rest] if y is not None else None) if wanted else train]
    for k in (1, 2):
        part = found[k]
        out.append(part if part is not None else (x[i := held[wanted.index(k)]], y[i] if y is not None else None))
    return out


def _channels_first(x: Tensor) -> Tensor:
    """(N, C, H, W) of images however their channels stand."""
    if x.ndim == 3:
        return x[:, None]
    return x.permute(0, 3, 1, 2).contiguous() if x.shape[3] in (1, 3, 4) and x.shape[1] not in (1, 3, 4) else x
