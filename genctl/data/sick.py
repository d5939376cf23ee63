"""SICK: pairs of sentences, how alike people find them (1 to 5), and whether one follows from the other; 4,439, 495 and 4,906.

Marelli et al. 2014, https://aclanthology.org/L14-1314. x is one sentence, `other` the second, `relatedness` from 0 to 1.
"""

import math
from typing import Literal

import torch

from genctl.contract import Spec
from genctl.data import Dataset
from genctl.data._cells import inside, lines
from genctl.data._labelled import ReadConfig, fitted, nonempty, together
from genctl.data._tokenise import fit
from genctl.errors import GenctlError, safe_text

NAMES = ["CONTRADICTION", "NEUTRAL", "ENTAILMENT"]
SETS = ("TRAIN", "TRIAL", "TEST")


class Config(ReadConfig):
    name: Literal["sick"] = "sick"
    """Pairs of sentences."""


def open(config: Config) -> Dataset:
    """Raises GenctlError: no-input, data-format, data-encoding, data-empty."""
    (path,) = inside("sick", config.path, "SICK.txt.gz")
    rows = [_pair(line.split("\t"), number, safe_text(path)) for number, line in enumerate(lines(path)[1:], 2)]
    split = [[row for row in rows if row[4] == name] for name in SETS]
    sides = [[row[0] for row in part] + [row[1] for row in part] for part in split]
    nonempty(sides)
    coder = fit(config, [t for part in sides for t in part], learn=sides[0])
    both, length, notes = fitted(coder, sides, config.length)
    parts = []
    for x, part in zip(both, split, strict=True):
        a, b = x.tensor_split(2)
        label, score = torch.tensor([row[2] for row in part]), torch.tensor([row[3] for row in part])
        parts.append(together(a, other=b, label=label, relatedness=score))
    plain = coder.spec(length)
    beside = {"other": plain, "label": Spec(shape=(), vocab=3, codec={"names": NAMES}), "relatedness": Spec(shape=())}
    return Dataset(coder.spec(length, given=beside), parts[0].first(config.limit), parts[1], parts[2], notes=notes)


def _pair(row: list[str], number: int, shown: str) -> tuple[str, str, int, float, str]:
    """(sentence, other, label, relatedness, set) of a row. Raises GenctlError (data-format)."""
    try:
        score = (float(row[4]) - 1) / 4
        if not math.isfinite(score) or not row[11]:
            raise ValueError
        return row[1], row[2], NAMES.index(row[3]), score, row[11]
    except (ValueError, IndexError):
        raise GenctlError("data-format", f"{shown}: line {number} is not a row of SICK's twelve columns") from None
