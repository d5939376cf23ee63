"""Docstrings: the functions of Python's standard library without what they say of themselves, beside the first line of it.

Which they are depends on the version of Python. Split by file (genctl/data/_functions.py).
"""

import ast
import inspect
import warnings
from typing import Literal

from genctl.data import Dataset
from genctl.data._functions import parts
from genctl.data._sides import Pair, SidesConfig, dataset

LEAST, MOST = 3, 30  # words of a line


class Config(SidesConfig):
    name: Literal["docstrings"] = "docstrings"
    """Functions of Python's standard library and what they do."""
    path: str | None = None
    """A folder of .py files to take instead."""


def open(config: Config) -> Dataset:
    """Raises GenctlError: no-input, data-empty, limit."""
    return dataset(config, [[pair for f in part if (pair := apart(f))] for part in parts(config.name, config.path)])


def apart(function: str) -> Pair | None:
    """The function without its docstring, and the first line of that; None where either would be nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = ast.parse(function).body[0]
    assert isinstance(found, ast.FunctionDef | ast.AsyncFunctionDef)
    first = found.body[0]
    if (
        len(found.body) < 2
        or not isinstance(first, ast.Expr)
        or not isinstance(first.value, ast.Constant)
        or not isinstance(first.value.value, str)
    ):
        return None
    said = inspect.cleandoc(first.value.value).strip().partition("\n")[0].strip()
    lines = function.splitlines()
    code = "\n".join([*lines[: first.lineno - 1], *lines[first.end_lineno :]]).rstrip()
    alone = first.lineno > found.lineno and found.body[1].lineno > (first.end_lineno or 0)
    return (code, (said,)) if alone and LEAST <= len(said.split()) <= MOST else None
