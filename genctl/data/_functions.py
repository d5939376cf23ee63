"""Python functions out of a folder of .py files, split by file, so that no test function has its siblings in the training part."""

import ast
import hashlib
import itertools
import re
import sysconfig
import textwrap
import warnings
from pathlib import Path

from genctl.data import find
from genctl.errors import GenctlError

LEFT_OUT = {"test", "tests", "site-packages", "dist-packages", "idlelib", "lib2to3", "turtledemo", "pydoc_data", "__pycache__"}
HEAD = re.compile(r"^( *)(?:async )?def ", re.MULTILINE)
SHORT, LONG = 60, 4000  # characters
TRIES = 3


def parts(name: str, path: str | None) -> list[list[str]]:
    """Each function once, to train on, to validate and to test with; of the standard library where no path is given.

    A hash of a file's name says where it goes, one in ten to validation and one to testing. Raises GenctlError (no-input, data-empty).
    """
    root = find(name, path, ".py files") if path else Path(sysconfig.get_paths()["stdlib"])
    found: dict[str, list[str]] = {"train": [], "valid": [], "test": []}
    seen: set[str] = set()
    for file in sorted(root.rglob("*.py")):
        place = file.relative_to(root)
        if not LEFT_OUT & set(place.parts):
            new = [f for f in functions(file.read_text(encoding="utf-8", errors="ignore")) if f not in seen]
            seen.update(new)
            found[_split(place.as_posix())] += new
    if not all(found.values()):
        raise GenctlError("data-empty", f"too few functions in {len(seen)}: a split has none", "data.path=FOLDER with more .py files")
    return list(found.values())


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
