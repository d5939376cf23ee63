"""What every set of questions to a text has in common: x is the question, a symbol between, and the text; beside it the words that answer.

Rajpurkar et al. 2016, https://arxiv.org/abs/1606.05250. `span` holds the places of the answer's first and last symbol, `answer` its text as symbols.
A text is cut to fit; a question whose answer is cut off is left out of the training part, and has the span (0, 0) elsewhere.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genctl.contract import Spec
from genctl.data import Dataset
from genctl.data._labelled import MAX_CELLS, ReadConfig, shortened
from genctl.data._labelled import together as split_of
from genctl.data._tagged import aligned
from genctl.data._tokenise import END, Coder, fit, padded, small
from genctl.data._tokens import read
from genctl.errors import GenctlError, safe_text

BETWEEN = "<|text|>"
MAX_ANSWER = 64


@dataclass(frozen=True)
class Question:
    """start: of the answer in the context, in characters."""

    question: str
    context: str
    answer: str
    start: int


def articles(path: Path) -> list[list[Question]]:
    """The questions of each article of a SQuAD v1.1 file; the first answer of each. Raises GenctlError (data-format, data-empty, ...)."""
    shown = safe_text(path)
    try:
        tree = json.loads(read(path))
        found = [[q for p in article["paragraphs"] for q in _paragraph(p)] for article in tree["data"]]
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as e:
        what = f"{shown}: not the JSON of SQuAD v1.1: {type(e).__name__} {safe_text(e)}"
        raise GenctlError("data-format", what, '{"data": [{"paragraphs": [{"context": ..., "qas": [...]}]}]}') from None
    if not any(found):
        raise GenctlError("data-empty", f"{shown}: no questions")
    return [a for a in found if a]


def _paragraph(tree: Any) -> list[Question]:
    context = tree["context"]
    found = []
    for qa in tree["qas"]:
        if not qa["answers"]:
            continue  # SQuAD 2 has questions without an answer
        answer, start = qa["answers"][0]["text"], qa["answers"][0]["answer_start"]
        if not answer or context[start : start + len(answer)] != answer or not qa["question"].strip():
            raise ValueError(f"the answer of question {safe_text(qa.get('id'), 40)} does not stand where it is said to")
        found.append(Question(qa["question"], context, answer, start))
    return found


def words(context: str) -> list[str]:
    return context.split()


def together(coder: Coder, question: str, context: str, length: int) -> tuple[Tensor, list[int]]:
    """(row of symbols (length,), the places where the words of the context begin, and where the last ends). Raises GenctlError (config)."""
    if BETWEEN not in coder.special:
        raise GenctlError("config", f"the tokeniser has no symbol {BETWEEN} to stand between question and text", "one trained on such data")
    asked, _ = aligned(coder, words(question))
    asked = asked[: length // 2]
    row, first = aligned(coder, words(context))
    x = padded([[*asked, coder.special[BETWEEN], *row]], length, coder.end, torch.long)[0]
    return x, [len(asked) + 1 + at for at in (*first, len(row))]


def dataset(config: ReadConfig, split: Sequence[Sequence[Question]]) -> Dataset:
    """split: training, validation, test. Raises GenctlError (data-empty, limit)."""
    texts = [sorted({t for q in part for t in (q.context, q.question)}) for part in split]
    if not all(texts):
        raise GenctlError("data-empty", "a part of the data has no questions")
    coder = fit(config, [t for part in texts for t in part], (END, BETWEEN), learn=texts[0])
    length = config.length or 512
    if sum(map(len, split)) * length > MAX_CELLS:
        raise GenctlError("limit", f"{sum(map(len, split)):,} questions of {length:,} symbols: at most {MAX_CELLS:,} symbols")
    parts, cut = [], 0
    for k, part in enumerate(split):
        made = [(q, *together(coder, q.question, q.context, length)) for q in part]
        spans = [_span(q, first, length) for q, _, first in made]
        cut += sum(s == (0, 0) for s in spans)
        kept = [i for i, s in enumerate(spans) if k or s != (0, 0)]
        if not kept:
            raise GenctlError("data-empty", f"no answer lies within data.length {length}", "a larger data.length")
        x = torch.stack([made[i][1] for i in kept]).to(small(coder.vocab))
        answer = padded(coder.encode([" " + made[i][0].answer for i in kept]), MAX_ANSWER, coder.end, small(coder.vocab))
        parts.append(split_of(x, span=torch.tensor([spans[i] for i in kept]), answer=answer))
    said = Spec(shape=(MAX_ANSWER,), vocab=coder.vocab, end=coder.end, media="text", codec=coder.codec)
    beside = {"span": Spec(shape=(2,), vocab=length), "answer": said}
    notes = shortened(cut, sum(map(len, split)), length)
    return Dataset(coder.spec(length, given=beside), parts[0].first(config.limit), parts[1], parts[2], notes=notes)


def _span(q: Question, first: list[int], length: int) -> tuple[int, int]:
    """Places of the first and last symbol of the words that the answer touches; (0, 0) if they are cut off."""
    marks = [m.span() for m in re.finditer(r"\S+", q.context)]
    inside = [i for i, (a, b) in enumerate(marks) if a < q.start + len(q.answer) and b > q.start]
    if not inside:
        return 0, 0
    end = first[inside[-1] + 1] - 1
    return (first[inside[0]], end) if end < length - 1 else (0, 0)
