"""Python functions: cut out whole, split by file; and what drawn ones are worth."""

import pytest
import torch

from genctl import catalog
from genctl.data import _functions
from genctl.errors import GenctlError
from genctl.media import text as letters
from genctl.metrics import Case, parses

reader = catalog.load("data", "python-functions")

SOURCE = '''
import os

def one(a,
        b):
    """Says one.

Left of the margin.
    """
    return a + b  # and a comment that makes it long enough to be kept

class C:
    async def two(self):
        # a comment

        if self:
            return """text
            in lines"""
        return [x for x in range(100) if x % 3 == 0 and x > 17]

    @property
    def three(self): return 1

def broken(:
    pass
'''


def test_functions_are_cut_out_whole():
    one, two = _functions.functions(SOURCE)
    assert one.startswith("def one(a,\n        b):") and one.endswith("to be kept\n") and "margin" in one
    assert two.startswith("async def two(self):\n    # a comment\n\n    if self:") and two.endswith("x > 17]\n")


def test_split_by_file(tmp_path):
    body = "def f{0}():\n    return '{0} is what this function of many says when it is called upon'\n"
    for i in range(60):
        (tmp_path / f"m{i}.py").write_text(body.format(f"a{i}") + "\n\n" + body.format(f"b{i}"))
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "t.py").write_text(body.format("tested"))
    data = reader.open(reader.Config(path=str(tmp_path), vocab=400, length=80))
    parts = [[letters.decode(x, data.spec) for x in s.batch(0, len(s)).x] for s in (data.train, data.valid, data.test)]
    assert sum(map(len, parts)) == 120 and not any("tested" in t for part in parts for t in part)
    files = [{t[5 : t.index("(")] for t in part} for part in parts]
    assert not files[0] & files[1] and not files[0] & files[2] and all(files)
    drawn = [body.format("a99"), parts[0][0], "def f(:", "x = 1\n", ""]
    x = torch.full((len(drawn), 80), data.spec.end)
    for row, t in zip(x, drawn, strict=True):
        symbols = letters.encode(t, data.spec)
        row[: len(symbols)] = symbols
    found = parses.measure(Case(spec=data.spec, samples=x, train=data.train.batch(0, 99).x, reference=data.test.batch(0, 9)))
    assert found.value == 0.6 and found.floor == 1.0
    assert found.fields == {"functions": 0.4, "distinct": 1.0, "copied": 0.2}


def test_too_few(tmp_path):
    (tmp_path / "a.py").write_text(SOURCE)
    with pytest.raises(GenctlError) as e:
        reader.open(reader.Config(path=str(tmp_path), vocab=400))
    assert e.value.id == "data-empty"
