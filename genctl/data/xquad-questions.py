"""XQuAD: questions that a sentence answers, to be asked from that sentence; the answer stands in front of it. Split by article as `xquad`.

Artetxe et al. 2020, https://arxiv.org/abs/1910.11856; asking from a sentence and its answer: Du et al. 2017, https://arxiv.org/abs/1705.00106.
"""

import itertools
import re
from typing import Literal

from genctl.data import Dataset
from genctl.data._cells import inside
from genctl.data._sides import Pair, SidesConfig, dataset
from genctl.data._squad import Question, articles

CUTS = (0, 33, 38, 48)


class Config(SidesConfig):
    name: Literal["xquad-questions"] = "xquad-questions"
    """Sentences of Wikipedia and questions that they answer."""
    language: Literal["en", "de"] = "en"
    """English or German."""


def open(config: Config) -> Dataset:
    """Raises GenctlError: no-input, data-format, data-encoding, data-empty, limit."""
    (path,) = inside("xquad-en-de", config.path, f"xquad.{config.language}.json.gz")
    found = articles(path)
    return dataset(config, [[pair(q) for article in found[a:b] for q in article] for a, b in itertools.pairwise(CUTS)])


def pair(q: Question) -> Pair:
    """The answer and the sentence in which it begins, and the question."""
    ends = [0, *(m.end() for m in re.finditer(r"[.!?]\s+(?=[A-Z0-9\"])", q.context)), len(q.context)]
    a, b = next((a, b) for a, b in itertools.pairwise(ends) if a <= q.start < b or b == len(q.context))
    return f"{q.answer.strip()}: {q.context[a:b].strip()}", (q.question.strip(),)
