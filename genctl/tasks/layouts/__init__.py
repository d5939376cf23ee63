"""How Hugging Face lays out the models that genctl knows: one `model_type` a file, each map stated once and read in both directions.

A file has the family it belongs to, three pure functions,

    read(config) -> (the `model:` section, Spec)     of a config.json; Unlike for what the family does not compute
    write(settings, spec) -> config.json             Unlike for what the layout has no place for
    names(settings) -> {our tensor: Place}

and two about symbols: special(settings, spec), those that a tokenizer_config.json names, and frame(settings, spec), those that stand
before and behind a text.

HAS: settings that every model of the layout has; tensors that ours lacks for it (biases) are written as zeros.
DATA: the set that such a model is about. PREFIX: what files of the bare network leave out of every name. STRAY: endings of tensors that
some files hold and nobody needs.
"""

import importlib
import math
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from genctl.contract import Spec
from genctl.errors import safe_text

Shape = tuple[int, ...]


class Unlike(Exception):
    """Why a model of one side has no counterpart on the other; a line each."""

    def __init__(self, *lines: str) -> None:
        self.lines = list(lines)
        super().__init__("; ".join(lines))


@dataclass(frozen=True)
class Place:
    """Where a tensor of ours is in theirs: in one, or in several of which each holds some of its rows, in their order.

    turned    theirs are transposed
    times     ours is theirs times this
    """

    names: tuple[str, ...]
    rows: tuple[int, ...] = ()
    turned: bool = False
    times: tuple[float, ...] = ()

    def shapes(self, shape: Shape) -> dict[str, Shape]:
        """The shapes of theirs, for ours of a shape."""
        rows = self.rows or shape[:1]
        found = [(r, *shape[1:]) for r in rows]
        return {n: s[::-1] if self.turned else s for n, s in zip(self.names, found, strict=True)}

    def ours(self, theirs: Callable[[str], Tensor]) -> Tensor:
        """Our tensor out of theirs, which are fetched by name."""
        parts = [t.T if self.turned else t for t in map(theirs, self.names)]
        parts = [t * k for t, k in zip(parts, self.times, strict=True)] if self.times else parts
        return parts[0].contiguous() if len(parts) == 1 else torch.cat(parts)

    def theirs(self, ours: Tensor) -> dict[str, Tensor]:
        """Their tensors out of ours."""
        parts = list(torch.split(ours, list(self.rows))) if self.rows else [ours]
        parts = [t / k for t, k in zip(parts, self.times, strict=True)] if self.times else parts
        return {n: (t.T if self.turned else t).contiguous() for n, t in zip(self.names, parts, strict=True)}


@dataclass(frozen=True)
class Sum(Place):
    """Ours is the first of theirs, to each row of which the first row of the second, a table of `count`, is added."""

    count: int = 1

    def shapes(self, shape: Shape) -> dict[str, Shape]:
        return {self.names[0]: shape, self.names[1]: (self.count, *shape[1:])}

    def ours(self, theirs: Callable[[str], Tensor]) -> Tensor:
        return theirs(self.names[0]) + theirs(self.names[1])[0]

    def theirs(self, ours: Tensor) -> dict[str, Tensor]:
        return {self.names[0]: ours.contiguous(), self.names[1]: ours.new_zeros(self.count, *ours.shape[1:])}


def linear(ours: str, *theirs: str, rows: tuple[int, ...] = (), turned: bool = False, bias: bool = True) -> dict[str, Place]:
    """The places of a layer's weight and bias; `theirs` are layers too. A norm is such a layer."""
    found = {f"{ours}.weight": Place(tuple(f"{t}.weight" for t in theirs), rows, turned)}
    return found | ({f"{ours}.bias": Place(tuple(f"{t}.bias" for t in theirs), rows)} if bias else {})


class Layout(Protocol):
    """What every file of this room offers."""

    FAMILY: str
    DATA: str
    PREFIX: str
    STRAY: tuple[str, ...]
    HAS: dict[str, Any]

    def read(self, config: "Config") -> tuple[dict[str, Any], Spec]: ...
    def write(self, settings: Any, spec: Spec) -> dict[str, Any]: ...
    def names(self, settings: Any) -> dict[str, Place]: ...
    def special(self, settings: Any, spec: Spec) -> dict[str, int | None]: ...
    def frame(self, settings: Any, spec: Spec) -> tuple[int | None, int | None]: ...


def known() -> dict[str, Layout]:
    """Every layout by its model_type."""
    found = (m.name for m in pkgutil.iter_modules(__path__))
    return {name: importlib.import_module(f"{__name__}.{name}") for name in found}


def unless(*checks: tuple[bool, str]) -> None:
    """Raises Unlike with the text of every check that fails."""
    if lines := [text for good, text in checks if not good]:
        raise Unlike(*lines)


class Config:
    """A config.json: every value is checked when it is asked for, since anybody may have written it.

    names   the symbols of the tokeniser beside it, by name
    """

    def __init__(self, tree: Mapping[str, Any], names: Mapping[str, int] | None = None) -> None:
        self.tree, self.names = tree, names or {}

    def wrong(self, name: str, expected: str) -> Unlike:
        return Unlike(f"{name}: expected {expected}, got {safe_text(repr(self.tree.get(name)), 40)}")

    def integer(self, name: str, default: int | None = None) -> int:
        """A number from 1; `default` where the file has none, or null."""
        value = self.tree.get(name)
        value = default if value is None else value
        if type(value) is not int or not 1 <= value < 2**31:
            raise self.wrong(name, "a whole number from 1")
        return value

    def real(self, name: str, default: float) -> float:
        value = self.tree.get(name)
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise self.wrong(name, "a number")
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        value = self.tree.get(name, default)
        if not isinstance(value, bool):
            raise self.wrong(name, "true or false")
        return value

    def one_of(self, name: str, default: str, allowed: Iterable[str]) -> str:
        value = self.tree.get(name, default)
        if value not in (known := list(allowed)):
            raise self.wrong(name, " or ".join(known))
        return str(value)

    def same(self, name: str, value: Any) -> None:
        """Raises Unlike where the file says anything else."""
        if self.tree.get(name, value) != value:
            raise self.wrong(name, f"{value}: genctl computes nothing else")

    def part(self, name: str) -> "Config":
        value = self.tree.get(name)
        if value is not None and not isinstance(value, dict):
            raise self.wrong(name, "an object")
        return Config(value or {})

    def symbol(self, *names: str) -> int | None:
        """The first of these entries that is a symbol of the vocabulary; of a list, its first."""
        for name in names:
            value = self.tree.get(name)
            value = value[0] if isinstance(value, list) and value else value
            if type(value) is int and 0 <= value < self.integer("vocab_size"):
                return value
        return None

    def begin(self, first: str, second: str) -> int:
        """The symbol that stands before a text, by the entry of one name or the other."""
        found = self.symbol(first, second)
        if found is None:
            raise Unlike(f"{first}: it names no symbol, and neither does {second}; one of them has to stand before a text")
        return found
