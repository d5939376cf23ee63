"""The share of drawn texts that are Python: `ast.parse` reads them whole.

Fields: `functions`, the share that defines one; `distinct`, the share that no other sample equals; `copied`, the share that stands in the
training part as it is. The floor is the share of held-out texts that parse.
"""

import ast
import warnings

from torch import Tensor

from genctl.contract import Spec
from genctl.media import text
from genctl.metrics import Case, Score, proportion

NEEDS = frozenset({"samples", "train"})
EXTRACTOR = ""
HIGHER = True


def tree(source: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def texts(x: Tensor, spec: Spec) -> list[str]:
    return [text.decode(row, spec) for row in x]


def measure(case: Case) -> Score:
    if case.spec.media != "text":
        return Score(value=None, reason="these samples are no text")
    assert case.samples is not None and case.train is not None
    drawn = texts(case.samples, case.spec)
    trees = [tree(t) for t in drawn]
    right = [t is not None and bool(t.body) for t in trees]
    defines = [bool(t and any(isinstance(s, ast.FunctionDef | ast.AsyncFunctionDef) for s in t.body)) for t in trees]
    known = set(texts(case.train, case.spec))
    real = [tree(t) is not None for t in texts(case.reference.x, case.spec)]
    value, se = proportion(Tensor(right).bool())
    fields = {
        "functions": sum(defines) / len(drawn),
        "distinct": len(set(drawn)) / len(drawn),
        "copied": sum(t in known for t in drawn) / len(drawn),
    }
    return Score(value=value, se=se, floor=sum(real) / len(real), fields=fields)
