"""Names to files, by listing folders. A file `families/energy/rbm.py` is the family `rbm`; nothing is registered anywhere.

Listing imports nothing: the one-line description of an entry is the first line of its docstring, read with `ast`.
"""

import ast
import difflib
import importlib
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from genctl.errors import GenctlError, safe_text

HOME = Path(__file__).parent


@dataclass(frozen=True)
class Entry:
    """One file of a room: its name, the group folder it stands in, and where to import it from."""

    name: str
    group: str
    path: Path

    @property
    def module(self) -> str:
        return ".".join(("genctl", *self.path.relative_to(HOME).with_suffix("").parts))

    @property
    def summary(self) -> str:
        """The first line of the file's docstring."""
        doc = ast.get_docstring(ast.parse(self.path.read_text(encoding="utf-8"))) or ""
        return doc.split("\n")[0]


@cache
def entries(room: str) -> dict[str, Entry]:
    """Every entry of a room (`families`, `data`, `metrics`, `media`, `rewards`) by name, sorted by group, then name."""
    found = [
        Entry(p.stem, p.parent.name if p.parent != HOME / room else "", p)
        for p in (HOME / room).rglob("*.py")
        if not p.stem.startswith("_")
    ]
    return {e.name: e for e in sorted(found, key=lambda e: (e.group, e.name))}


def entry(room: str, name: str) -> Entry:
    """The entry called `name`; a GenctlError (config) with the nearest names if there is none."""
    known = entries(room)
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]!r}?" if near else "one of: " + ", ".join(known)
        raise GenctlError("config", f"there is no {room} entry called '{safe_text(name)}'; {hint}", f"genctl list {room}")
    return known[name]


def load(room: str, name: str) -> ModuleType:
    """Imports one entry's file."""
    return importlib.import_module(entry(room, name).module)


def family(name: str) -> Any:
    """The model class of a family: the class in its file whose lower-cased name is the file's name."""
    return load_class(load("families", name), name)


def load_class(module: ModuleType, name: str) -> Any:
    return next(v for k, v in vars(module).items() if k.lower() == name and isinstance(v, type))


def name_of(cls: type) -> str:
    """The catalog's name of a family class: the stem of its file."""
    return cls.__module__.rsplit(".", 1)[-1]


@cache
def recipes_home() -> Path:
    """Where the shipped recipes are: `configs/` beside the package in a checkout, inside it in a wheel."""
    inside = HOME / "configs"
    return inside if inside.is_dir() else HOME.parent / "configs"


def recipes() -> dict[str, Path]:
    """The shipped recipes by name (`vae-digits`), in the order of their groups."""
    return {p.stem: p for p in sorted(recipes_home().glob("*/*.yaml"))}


def cache_home() -> Path:
    """Where things computed once are kept: $GENCTL_CACHE, else $XDG_CACHE_HOME/genctl, else ~/.cache/genctl."""
    own = os.environ.get("GENCTL_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "genctl"
