"""Few-shot accuracy: how often the answer that stands behind a question is the likeliest of all there are, after 0, 1, 2, 4, ... examples.

Brown et al. 2020, https://arxiv.org/abs/2005.14165, section 2.4. `--examples FILE` holds questions and answers, each written in a `--form`; every
one is asked in turn (250 of them at most), and examples are drawn from the others, the first ones of one order, so that four of them are among
eight. The likelihood is that of the whole text, of which only the last answer differs.

shots_K      the accuracy after K examples, as far as all of them fit into what the model reads; the figure is that of the most
chance       the share of the commonest answer
picture      the curve
"""

from collections import Counter
from typing import Any

import torch
from torch import Tensor

from genctl.errors import GenctlError
from genctl.media import _curve, text
from genctl.metrics import Case, Score, _texts, proportion

NEEDS = frozenset({"log_prob", "examples"})
EXTRACTOR = ""
HIGHER = True
ASKED, SHOTS = 250, (0, 1, 2, 4, 8, 16, 32, 64)
Item = dict[str, str]  # an example in pieces: before, answer, behind


def written(item: Item, answer: str = "") -> str:
    return item["before"] + (answer or item["answer"]) + item["behind"]


def orders(n: int, seed: int) -> list[list[int]]:
    """The questions, each with the others in an order of their own: rows (question, first example, second, ...)."""
    dice = torch.Generator().manual_seed(seed)
    asked: list[int] = torch.randperm(n, generator=dice)[:ASKED].tolist()
    return [[i, *(k for k in torch.randperm(n, generator=dice).tolist() if k != i)] for i in asked]


def right(items: list[Item], rows: list[list[int]], shots: int, answers: list[str], case: Case) -> Tensor:
    """(questions,) True where the answer is the likeliest. Raises GenctlError (prompt-token)."""
    fronts = ["".join(written(items[k]) for k in row[shots:0:-1]) for row in rows]
    texts = [front + written(items[row[0]], answer) for front, row in zip(fronts, rows, strict=True) for answer in answers]
    said = _texts.nats(texts, case).view(len(rows), -1).argmax(1).tolist()
    return torch.tensor([answers[k] == items[row[0]]["answer"] for k, row in zip(said, rows, strict=True)])


def measure(case: Case) -> Score:
    items = case.templates or []
    answers = Counter(item["answer"] for item in items)
    if len(answers) < 2:
        return Score(value=None, reason="needs --examples FILE, of at least two answers")
    rows, room = orders(len(items), case.seed), case.spec.size - (case.spec.end is not None)
    try:
        sizes = [max(len(text.encode(written(item, a), case.spec)) for a in answers) for item in items]
        able = [k for k in SHOTS if k < len(items) and all(sum(sizes[i] for i in row[: k + 1]) <= room for row in rows)]
        if not able:
            return Score(value=None, reason=f"a question with its answer has {max(sizes)} symbols, the model reads {room}")
        found = {k: proportion(right(items, rows, k, list(answers), case)) for k in able}
    except GenctlError as e:
        return Score(value=None, reason=f"the examples cannot be written in its symbols: {e.lines[0]}")
    chance = answers.most_common(1)[0][1] / len(items)
    stem = case.folder / f"fewshot-seed-{case.seed}"
    path = _curve.save(found, chance, ("examples before the question", "accuracy"), stem, {"generated": True})
    fields: dict[str, Any] = {f"shots_{k}": share for k, (share, _) in found.items()}
    fields |= {f"shots_{k}_se": se for k, (_, se) in found.items()}
    value, se = found[able[-1]]
    return Score(value=value, se=se, fields={**fields, "chance": chance, "items": len(rows), "picture": str(path)})
