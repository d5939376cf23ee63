"""What a dataset is: a Spec and three splits. One dataset or reader per file: `Config`, and `open(config) -> Dataset`."""

import hashlib
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from pydantic import Field
from torch import Tensor

from genctl import catalog, config
from genctl.config import Settings
from genctl.contract import Batch, Spec
from genctl.errors import GenctlError, safe_text


class DataConfig(Settings):
    """Which data; a file of `genctl/data/` adds its own keys."""

    name: str
    """A file of genctl/data: see `genctl list data`."""
    path: str | None = None
    """Where it is; a named set is also looked for in $GENCTL_DATA/<name>."""
    limit: int = Field(0, ge=0)
    """Train on the first so many examples only; 0: all."""


@dataclass(frozen=True)
class Split:
    """`count` examples behind a function of their indices: get(index (B,)) -> Batch on the CPU.

    `train` splits may draw noise inside `get` (dynamic binarisation, flips) from the stream that is open around the call.
    said: of pairs of texts (source, targets), each as it was written and whole, for those who compare texts; there may be several targets.
    """

    count: int
    get: Callable[[Tensor], Batch]
    fingerprint: Callable[[], str] = field(default=lambda: "")
    said: Sequence[tuple[str, tuple[str, ...]]] = ()

    def __len__(self) -> int:
        return self.count

    def first(self, n: int) -> "Split":
        """The first n examples; 0: all."""
        return replace(self, count=min(n, self.count), said=self.said[:n]) if n else self

    def batch(self, start: int, stop: int) -> Batch:
        """Examples start..stop in their own order."""
        return self.get(torch.arange(start, min(stop, self.count)))


class Truth(Protocol):
    """The distribution a made dataset was drawn from."""

    def log_prob(self, x: Tensor) -> Tensor:
        """(B,) nats: log density of floats, log probability of a discrete x; -inf outside the support."""

    def draw(self, n: int, seed: int) -> Tensor:
        """n fresh draws."""


@dataclass(frozen=True)
class Dataset:
    """What the house knows about data: its Spec, its splits as published, and the truth where it is known."""

    spec: Spec
    train: Split
    valid: Split
    test: Split
    truth: Truth | None = None
    notes: tuple[str, ...] = ()  # what the user should be told about it: `warning[id]: ...`
    whole: Callable[[], Iterator[Batch]] | None = None  # test pictures as large as they are, one at a time, where splits are cut from them

    def split(self, name: str) -> Split:
        found: Split = getattr(self, name)
        return found


def within(plain: dict[str, Any]) -> Dataset:
    """The dataset that another one's settings hold, as in {name: digits}. Raises GenctlError (config, and what opening it raises)."""
    name = plain.get("name")
    reader = catalog.load("data", name if isinstance(name, str) else "")
    settings = config.inner(reader.Config, plain, f"data inside the data, {safe_text(name)}")
    found: Dataset = reader.open(settings)
    return found


def told(settings: Any, spec: Spec) -> Any:
    """The settings of a set of text with the tokeniser of a Spec, so that it is read in the symbols that a model knows."""
    found = next((s.codec["tokenizer"] for s in (spec, *spec.given.values()) if "tokenizer" in s.codec), None)
    return settings.model_copy(update={"tokenizer": found}) if found and "tokenizer" in type(settings).model_fields else settings


def tensors(x: Tensor, given: dict[str, Tensor] | None = None, prepare: Callable[[Tensor], Tensor] = lambda x: x) -> Split:
    """A split held in memory: x (N, ...) as stored; `prepare` makes a batch of it what the Spec promises."""
    beside = given or {}

    def get(index: Tensor) -> Batch:
        return Batch(x=prepare(x[index]), given={k: v[index] for k, v in beside.items()})

    return Split(len(x), get, lambda: fingerprint(x, *beside.values()))


def fingerprint(*arrays: Tensor) -> str:
    """The first 16 hex digits of a sha256 over the contents."""
    sha = hashlib.sha256()
    for a in arrays:
        sha.update(f"{a.dtype}{tuple(a.shape)}".encode())
        sha.update(a.contiguous().numpy().data)
    return sha.hexdigest()[:16]


def find(name: str, path: str | None, wants: str) -> Path:
    """The folder or file of a named set: `data.path`, else $GENCTL_DATA/<name>. GenctlError (no-input) names both."""
    if path:
        place = Path(path).expanduser()
        if place.exists():
            return place
        raise GenctlError("no-input", f"data.path: nothing at {safe_text(place)}", f"put {wants} there")
    root = os.environ.get("GENCTL_DATA")
    place = Path(root or "$GENCTL_DATA").expanduser() / name
    if root and place.exists():
        return place
    fetched = name in catalog.entries("data") and hasattr(catalog.load("data", name), "REMOTE")
    said = f"nothing at {safe_text(place)}" if root else "$GENCTL_DATA is not set"
    raise GenctlError(
        "no-input",
        f"data '{name}' is not here: no data.path given, and {said}",
        (f"genctl data prepare {name}, or " if fetched else "") + f"data.path=FOLDER with {wants}",
    )


def holdout(n: int, *shares: float, seed: int = 0) -> list[Tensor]:
    """Disjoint index sets for data without a published split: (train, then one per share), by a permutation of `seed`.

    A share of 0, or a share of too few, is the training set again.
    """
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    sizes = [max(1, round(n * s)) if s and n > len(shares) else 0 for s in shares]
    cuts = [sum(sizes[:i]) for i in range(len(sizes) + 1)]
    held = [order[a:b] for a, b in itertools.pairwise(cuts)]
    rest = order[cuts[-1] :]
    return [rest, *(h if len(h) else rest for h in held)]
