"""The stamp of a result: everything that a figure depends on. Figures with unlike stamps are never put side by side."""

import hashlib
import json
import operator
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

import genctl
from genctl.errors import GenctlError, safe_text

# What two figures of one column may differ in: the thing that is judged, and how it draws.
OWN = frozenset({"checkpoint", "family", "samples", "draw", "id", "like"})


def versions() -> dict[str, str]:
    return {"genctl": genctl.__version__, "torch": torch.__version__.split("+")[0], "python": ".".join(map(str, sys.version_info[:2]))}


def short(value: Any) -> str:
    """12 hex digits over a plain tree."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def seal(stamp: dict[str, Any]) -> dict[str, Any]:
    """The stamp with its own id, and with `like`, which two figures must share to be compared."""
    return {**stamp, "id": short(stamp), "like": short({k: v for k, v in stamp.items() if k not in OWN})}


# --- gates -------------------------------------------------------------------------------------------------------------------

_COMPARE = {"<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt}
_TARGET = r"(<=|>=|<|>)\s*(-?[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)"


@dataclass(frozen=True)
class Target:
    """`metric.field <= number`."""

    metric: str
    field: str
    sign: str
    number: float

    @property
    def text(self) -> str:
        return f"{self.metric}{'.' + self.field if self.field else ''} {self.sign} {self.number:g}"

    def holds(self, results: Mapping[str, Any]) -> bool:
        """Whether the figure is what the target says. Raises GenctlError (usage) when there is no such figure."""
        value = self.figure(results)
        return bool(_COMPARE[self.sign](value, self.number))

    def figure(self, results: Mapping[str, Any]) -> float:
        found = results.get(self.metric) or {}
        value = found.get(self.field or "value")
        if isinstance(value, str) and value in ("inf", "-inf", "nan"):
            value = float(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            numbers = sorted(k for k, v in found.items() if isinstance(v, int | float) and not isinstance(v, bool))
            known = f"; it has {', '.join(numbers)}" if numbers else f": {found['reason']}" if found.get("reason") else ""
            name = self.metric + (f".{self.field}" if self.field else "")
            raise GenctlError("usage", f"'{safe_text(name)}' was not computed{known}", "gate on a figure that is")
        return float(value)


def target(text: str) -> Target:
    """`fid > 30` or `nll.nats<=87.5`. Raises GenctlError (usage)."""
    found = re.fullmatch(r"\s*([a-z][a-z0-9_-]*)(?:\.([a-z][a-z0-9_]*))?\s*" + _TARGET + r"\s*", text)
    if not found:
        raise GenctlError("usage", f"'{safe_text(text)}' is not a comparison", "for example --fail-if 'fid>30' or 'nll.nats>=90'")
    return Target(found[1], found[2] or "", found[3], float(found[4]))
