"""Span F1 of named entities: an entity counts if its words and its type are all right; strict IOB2, as seqeval counts it.

Tjong Kim Sang and De Meulder 2003, https://aclanthology.org/W03-0419. B-X begins an entity of type X, I-X goes on with one; an I-X that goes on with
nothing is none. A word's tag stands at its first symbol; the others count nothing. Truth that lies beyond the model's length is not there.

gazetteer       the same for a list of the training part's entities, looked up in the text in any case of letters, the longest first
over_gazetteer  how many times as good the model is
se              by leaving out a tenth of the texts at a time
"""

import itertools
from collections import Counter
from typing import Any

import torch
from torch import Tensor

from genctl.media import text
from genctl.metrics import Case, Score, jackknife

NEEDS = frozenset({"predictions", "training"})
EXTRACTOR = ""
HIGHER = True
Entity = tuple[int, int, str]  # first word, the word behind the last, type


def entities(tags: list[str]) -> list[Entity]:
    """Those of one text."""
    found: list[Entity] = []
    begin, kind = 0, ""
    for i, tag in enumerate([*tags, "O"]):
        mark, _, name = tag.partition("-")
        if kind and not (mark == "I" and name == kind):
            found.append((begin, i, kind))
            kind = ""
        if mark == "B":
            begin, kind = i, name
    return found


def score(said: list[list[Entity]], truth: list[list[Entity]], kind: str = "") -> dict[str, float]:
    """precision, recall and f1 over all texts; of one type."""
    pairs = [({e for e in a if kind in ("", e[2])}, {e for e in b if kind in ("", e[2])}) for a, b in zip(said, truth, strict=True)]
    right, told, there = sum(len(a & b) for a, b in pairs), sum(len(a) for a, _ in pairs), sum(len(b) for _, b in pairs)
    precision, recall = right / told if told else 0.0, right / there if there else 0.0
    return {"precision": precision, "recall": recall, "f1": 2 * right / (told + there) if told + there else 0.0}


def words(x: Tensor, first: Tensor, pieces: list[bytes]) -> list[bytes]:
    """The words of a row in small letters: from one first symbol to the next."""
    cuts = [*first.nonzero()[:, 0].tolist(), len(x)]
    return [b"".join(pieces[i] for i in x[a:b].tolist()).lower() for a, b in itertools.pairwise(cuts)]


def gazetteer(rows: list[list[bytes]], truth: list[list[Entity]]) -> dict[tuple[bytes, ...], str]:
    """Each entity's words, and the type that they have most often."""
    seen: dict[tuple[bytes, ...], Counter[str]] = {}
    for row, found in zip(rows, truth, strict=True):
        for a, b, kind in found:
            seen.setdefault(tuple(row[a:b]), Counter())[kind] += 1
    return {name: kinds.most_common(1)[0][0] for name, kinds in seen.items()}


def look_up(row: list[bytes], known: dict[tuple[bytes, ...], str], longest: int) -> list[Entity]:
    found: list[Entity] = []
    i = 0
    while i < len(row):
        n = next((n for n in range(min(longest, len(row) - i), 0, -1) if tuple(row[i : i + n]) in known), 0)
        if n:
            found.append((i, i + n, known[tuple(row[i : i + n])]))
        i += n or 1
    return found


def told(tags: Tensor, first: Tensor, names: list[str]) -> list[list[Entity]]:
    """Entities of rows of tags (N, T), at the first symbols of words."""
    return [entities([names[t] for t in row[kept].tolist()]) for row, kept in zip(tags, first, strict=True)]


def measure(case: Case) -> Score:
    assert case.predictions is not None and case.training is not None
    wanted, y = case.spec.given[case.target], case.reference.given[case.target]
    names = [str(n) for n in wanted.codec.get("names", [])]
    if len(wanted.shape) != 1 or "none" not in wanted.codec or not any(n.startswith("B-") for n in names):
        return Score(value=None, reason="needs tags of words, as in B-person I-person O")
    none = int(wanted.codec["none"])
    logits = case.predictions.clone()
    logits[..., none] = -torch.inf
    first = y != none
    said, truth = told(logits.argmax(-1), first, names), told(y, first, names)
    whole = score(said, truth)
    fields: dict[str, Any] = {k: whole[k] for k in ("precision", "recall")}
    for kind in sorted({n[2:] for n in names if n.startswith("B-")}):
        fields[kind.replace("-", "_")] = score(said, truth, kind)["f1"]
    train = case.training()
    known_first = train.given[case.target] != none
    pieces = text.pieces(case.spec)
    rows = [words(x, at, pieces) for x, at in zip(train.x, known_first, strict=True)]
    known = gazetteer(rows, told(train.given[case.target], known_first, names))
    longest = max(map(len, known), default=0)
    looked = [look_up(words(x, at, pieces), known, longest) for x, at in zip(case.reference.x, first, strict=True)]
    base = score(looked, truth)["f1"]
    fields |= {"gazetteer": base, "over_gazetteer": whole["f1"] / base if base else None}
    se = jackknife(lambda rows: score([said[i] for i in rows.tolist()], [truth[i] for i in rows.tolist()])["f1"], len(said))
    return Score(value=whole["f1"], se=se, fields=fields)
