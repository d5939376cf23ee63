"""Python functions: those of the standard library of the Python that runs this, one an example, moved to the left margin.

Which they are depends on the version of Python; the fingerprint says when two machines differ. Split by file, so that no test function
has its siblings in the training part: a hash of a file's name says where it goes, one in ten to validation and one to testing.
"""

import ast
import hashlib
import itertools
import re
import sysconfig
import textwrap
import warnings
from pathlib import Path
from typing import Literal

from pydantic import Field
from torch import Tensor

from genctl.data import Dataset, find, tensors
from genctl.data._tokenise import TokeniseConfig, Way, fit, padded, small
from genctl.errors import GenctlError

LEFT_OUT = {"test", "tests", "site-packages", "dist-packages", "idlelib", "lib2to3", "turtledemo", "pydoc_data", "__pycache__"}
HEAD = re.compile(r"^( *)(?:async )?def ", re.MULTILINE)
SHORT, LONG = 60, 4000  # characters
TRIES = 3


class Config(TokeniseConfig):
    name: Literal["python-functions"] = "python-functions"
    """Functions of Python's standard library."""
    path: str | None = None
    """A folder of .py files to take instead."""
    tokenise: Way = "bpe"
    """A symbol is a character, a byte of UTF-8, a word with the space before it, or a piece of a word as long as it is frequent."""
    vocab: int = Field(1024, ge=0, le=1_000_000)
    """How many symbols to learn."""
    length: int = Field(256, ge=8, le=100_000)
    """Symbols in a row, the end counted; longer functions are left out."""


def open(config: Config) -> Dataset:
    """Raises GenctlError: no-input, data-empty."""
    root = find(config.name, config.path, ".py files") if config.path else Path(sysconfig.get_paths()["stdlib"])
    parts: dict[str, list[str]] = {"train": [], "valid": [], "test": []}
    seen: set[str] = set()
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root)
        if not LEFT_OUT & set(name.parts):
            found = [f for f in functions(path.read_text(encoding="utf-8", errors="ignore")) if f not in seen]
            seen.update(found)
            parts[_split(name.as_posix())] += found
    if not all(parts.values()):
        raise GenctlError("data-empty", f"too few functions in {len(seen)}: a split has none", "data.path=FOLDER with more .py files")
    coder = fit(config, [f for part in parts.values() for f in part], learn=parts["train"])
    rows = {name: [row for row in coder.encode(part) if len(row) < config.length] for name, part in parts.items()}
    if not all(rows.values()):
        raise GenctlError("data-empty", f"no function of a split fits in data.length {config.length}", "a larger data.length")
    train, valid, test = (
        tensors(padded(part, config.length, coder.end, small(coder.vocab)), prepare=Tensor.long) for part in rows.values()
    )
    return Dataset(coder.spec(config.length), train.first(config.limit), valid, test)


def _split(name: str) -> str:
    tenth = hashlib.sha256(name.encode()).digest()[0] * 10 // 256
    return {0: "test", 1: "valid"}.get(tenth, "train")


def functions(source: str) -> list[str]:
    """Every function and method that is whole on its own, from its `def` to its last line."""
    out = []
    for head in HEAD.finditer(source):
        edge = re.compile(rf"^ {{0,{len(head[1])}}}[^\s)#]", re.MULTILINE)
        stops = (m.start() for m in edge.finditer(source, source.find("\n", head.end()) + 1, head.start() + LONG))
        for stop in itertools.chain(itertools.islice(stops, TRIES), [len(source)]):  # what stands at the margin may be inside a text
            text = textwrap.dedent(source[head.start() : stop]).rstrip() + "\n"
            if whole(text):
                out += [text] if SHORT <= len(text) <= LONG else []
                break
    return out


def whole(text: str) -> bool:
    """Whether it is one function and nothing else."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return len(body) == 1 and isinstance(body[0], ast.FunctionDef | ast.AsyncFunctionDef)
