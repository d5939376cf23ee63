"""Pictures beside spoiled copies of themselves, smaller, blurred, noisy or grey: pairs to learn restoration from.

The pictures are those of another set; what its training split draws anew is spoiled anew, and held-out copies are always the same.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from genctl.contract import Batch, Spec
from genctl.data import DataConfig, Dataset, Split, within
from genctl.errors import GenctlError
from genctl.maths import filters, noise


class Config(DataConfig):
    name: Literal["spoiled"] = "spoiled"
    """Pictures beside spoiled copies."""
    of: dict[str, Any]
    """Which pictures: the data section of another recipe."""
    scale: int = Field(1, ge=1, le=16)
    """The copy is so many times smaller each way, by a bicubic filter (a = -0.5)."""
    blur: float = Field(0.0, ge=0, le=32)
    """Standard deviation, in pixels, of a Gaussian that blurs it first."""
    noise: float = Field(0.0, ge=0, le=1)
    """Standard deviation of Gaussian noise on it, where white is 1."""
    grey: bool = False
    """It has lost its colours."""


def open(config: Config) -> Dataset:
    """x: the picture; `source` beside it. Raises GenctlError: config, and what opening the pictures raises."""
    if (config.scale, config.blur, config.noise, config.grey) == (1, 0, 0, False):
        raise GenctlError("config", "data: nothing is spoiled", "data.scale, data.blur, data.noise or data.grey")
    inner = within(config.of)
    spec = inner.spec
    if spec.kind != "image" or not spec.levels:
        raise GenctlError("config", f"data.of: expected pictures, found {spec.kind} {list(spec.shape)}")
    c, height, width = spec.shape
    if height % config.scale or width % config.scale:
        raise GenctlError("config", f"data.scale: {height}x{width} pixels do not divide by {config.scale}")
    beside = Spec(shape=(1 if config.grey else c, height // config.scale, width // config.scale), levels=256, media="image")
    parts = {name: _split(config, inner.split(name), name) for name in ("train", "valid", "test")}

    def whole() -> Iterator[Batch]:
        assert inner.whole
        for k, batch in enumerate(inner.whole()):
            down, across = (n - n % config.scale for n in batch.x.shape[2:])
            yield _pair(config, Batch(x=batch.x[:, :, :down, :across]), torch.tensor([k]), "whole")

    spec = replace(spec, given={**spec.given, "source": beside})
    train = parts["train"].first(config.limit)
    return replace(inner, spec=spec, train=train, valid=parts["valid"], test=parts["test"], whole=whole if inner.whole else None)


def _split(config: Config, split: Split, name: str) -> Split:
    plain = config.model_dump(exclude={"name", "path", "of", "limit"})
    return Split(len(split), lambda index: _pair(config, split.get(index), index, name), lambda: f"{split.fingerprint()}-{plain}")


def _pair(config: Config, batch: Batch, index: Tensor, split: str) -> Batch:
    """A batch with its spoiled copy. The noise of held-out examples is a function of their places."""
    x = filters.grey(batch.x) if config.grey and batch.x.shape[1] == 3 else batch.x
    if config.blur:
        x = filters.blur(x, config.blur)
    if config.scale > 1:
        x = filters.bicubic(x, 1 / config.scale)
    if config.noise:
        if split == "train":
            x = x + config.noise * noise.randn(*x.shape)
        else:
            drawn = [
                torch.randn(x.shape[1:], generator=torch.Generator().manual_seed(noise.seed_of("spoiled", split, i)))
                for i in index.tolist()
            ]
            x = x + config.noise * torch.stack(drawn)
    source = (255 * x.clamp(0, 1)).round() / 255
    return Batch(x=batch.x, given={**batch.given, "source": source})
