"""What every set of images, or of clips of them, has in common: storage as integers, binarisation, flips, labels."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from genctl.contract import Spec
from genctl.data import DataConfig, Dataset, Split, tensors
from genctl.errors import GenctlError
from genctl.maths import noise


class PixelConfig(DataConfig):
    """The keys that every image set takes."""

    binarize: Literal["none", "dynamic", "fixed"] = "none"
    """Pixels as coin flips of their grey level: anew at each use (dynamic) or once (fixed). Held-out splits are always fixed."""
    binarize_seed: int = Field(0, ge=0, lt=2**63)
    """The seed of what is flipped once."""
    flip: bool = False
    """Mirror training images left to right at random."""
    only: list[int] = Field(default_factory=list)
    """Train and validate on these classes alone; what is held out keeps all. For `genctl score`: what is normal."""


Part = tuple[Tensor, Tensor | None]  # images (N, C, H, W) or clips (N, T, C, H, W) of integers, labels (N,)


def dataset(
    config: PixelConfig,
    train: Part,
    valid: Part,
    test: Part,
    levels: int = 256,
    classes: list[str] | None = None,
    notes: tuple[str, ...] = (),
) -> Dataset:
    """Images or clips of `levels` grey values as a Dataset in [0, 1]."""
    binary = config.binarize != "none"
    label = {"label": Spec(shape=(), vocab=len(classes), codec={"names": classes})} if classes else {}
    media = "video" if train[0].ndim == 5 else "image"
    spec = Spec(shape=tuple(train[0].shape[1:]), levels=2 if binary else levels, given=label, media=media)
    if config.only:
        train, valid = _alone(config.only, train, classes), _alone(config.only, valid, classes)
    splits = [_split(config, part, levels, salt) for salt, part in enumerate((train, valid, test))]
    return Dataset(spec, splits[0].first(config.limit), splits[1], splits[2], notes=notes)


def _alone(only: list[int], part: Part, classes: list[str] | None) -> Part:
    """The examples of some classes. Raises GenctlError (config, data-empty)."""
    x, labels = part
    if labels is None or not classes:
        raise GenctlError("config", "data.only: this data has no class label", "data.only=[]")
    if wrong := [k for k in only if not 0 <= k < len(classes)]:
        raise GenctlError("config", f"data.only: {wrong[0]} is no class: expected 0 to {len(classes) - 1}")
    kept = torch.isin(labels, torch.tensor(only))
    if not kept.any():
        raise GenctlError("data-empty", f"data.only: no examples of {only}")
    return x[kept], labels[kept]


def _split(config: PixelConfig, part: Part, levels: int, salt: int) -> Split:
    x, labels = part
    training = salt == 0
    top = levels - 1
    if config.binarize == "fixed" or (config.binarize == "dynamic" and not training):
        coins = torch.Generator().manual_seed(config.binarize_seed * 3 + salt)
        x, top = (torch.rand(x.shape, generator=coins) < x / top).to(torch.uint8), 1

    def prepare(raw: Tensor) -> Tensor:
        out = raw.float() / top
        if training and config.flip:
            mirrored = noise.rand(len(out)) < 0.5
            out = torch.where(mirrored.view(-1, *[1] * (out.ndim - 1)), out.flip(-1), out)
        return noise.bernoulli(out) if training and config.binarize == "dynamic" else out

    return tensors(x, {"label": labels} if labels is not None else {}, prepare)
