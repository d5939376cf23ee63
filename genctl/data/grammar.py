"""Sentences of a small probabilistic grammar, 312 in all, whose probabilities are known: a made set for models of symbols.

A context-free grammar with a probability on every rule (Booth and Thompson 1973); it has no recursion, so its sentences can be listed.
"""

import itertools
import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from genctl.contract import Spec
from genctl.data import DataConfig, Dataset, tensors

Rules = dict[str, list[tuple[float, list[str]]]]
RULES: Rules = {
    "sentence": [(1.0, ["noun phrase", "verb phrase"])],
    "noun phrase": [(0.7, ["article", "noun"]), (0.3, ["article", "adjective", "noun"])],
    "verb phrase": [(0.4, ["verb"]), (0.6, ["verb", "noun phrase"])],
    "article": [(0.6, ["the "]), (0.4, ["a "])],
    "adjective": [(0.8, ["red "]), (0.2, ["old "])],
    "noun": [(0.5, ["fox "]), (0.5, ["hen "])],
    "verb": [(0.7, ["sees "]), (0.3, ["flees "])],
}
END, LENGTH = 0, 8
KINDS = ["article", "adjective", "noun", "verb", ""]
WORDS = ["", "the ", "a ", "red ", "old ", "fox ", "hen ", "sees ", "flees "]  # by symbol; 0 ends a sentence


class Config(DataConfig):
    name: Literal["grammar"] = "grammar"
    """A made grammar."""
    count: int = Field(20_000, ge=1, le=10_000_000)
    """How many training sentences to draw."""
    beside: bool = False
    """Let stand beside a sentence whether its verb has an object (`label`), the kind of each of its words (`tag`), and it backwards (`source`)."""


def sentences(symbol: str, rules: Rules) -> dict[tuple[str, ...], float]:
    """Every row of words that `symbol` can become, and its probability."""
    if symbol not in rules:
        return {(symbol,): 1.0}
    found: dict[tuple[str, ...], float] = {}
    for p, parts in rules[symbol]:
        for chosen in itertools.product(*(sentences(part, rules).items() for part in parts)):
            words = tuple(itertools.chain.from_iterable(w for w, _ in chosen))
            found[words] = found.get(words, 0.0) + p * math.prod(q for _, q in chosen)
    return found


@dataclass(frozen=True)
class Listed:
    """A distribution over listed rows: support (N, T) and p (N,)."""

    support: Tensor
    p: Tensor
    vocab: int

    def log_prob(self, x: Tensor) -> Tensor:
        code = self.code(x)
        known, order = self.code(self.support).sort()
        at = torch.searchsorted(known, code).clamp(max=len(known) - 1)
        return torch.where(known[at] == code, self.p[order][at].log(), -math.inf)

    def code(self, x: Tensor) -> Tensor:
        """A row as one number in base `vocab`."""
        return (x.flatten(1) * self.vocab ** torch.arange(x[0].numel())).sum(1)

    def draw(self, n: int, seed: int) -> Tensor:
        g = torch.Generator().manual_seed(seed)
        return self.support[torch.multinomial(self.p, n, replacement=True, generator=g)]


def truth() -> Listed:
    listed = sentences("sentence", RULES)
    support = torch.full((len(listed), LENGTH), END)
    for i, words in enumerate(listed):
        support[i, : len(words)] = torch.tensor([WORDS.index(w) for w in words])
    return Listed(support, torch.tensor(list(listed.values()), dtype=torch.float64), len(WORDS))


def open(config: Config) -> Dataset:
    known = truth()
    train, valid, test = (known.draw(n, seed) for seed, n in enumerate((config.count, 5_000, 5_000)))
    spec = Spec(shape=(LENGTH,), vocab=len(WORDS), end=END, media="text", codec={"symbols": WORDS})
    if config.beside:
        spec = replace(spec, given={**GIVEN, "source": spec})
    splits = [tensors(x, beside(x) if config.beside else {}) for x in (train, valid, test)]
    return Dataset(spec, splits[0].first(config.limit), splits[1], splits[2], known)


GIVEN = {
    "label": Spec(shape=(), vocab=2, codec={"names": ["intransitive", "transitive"]}),
    "tag": Spec(shape=(LENGTH,), vocab=len(KINDS), codec={"names": KINDS, "none": len(KINDS) - 1}),
}


def beside(x: Tensor) -> dict[str, Tensor]:
    """The class and the tags of sentences (N, T), and their words from the last to the first."""
    kind = torch.tensor([4, 0, 0, 1, 1, 2, 2, 3, 3])[x]
    from_last = (x != END).sum(1, keepdim=True) - 1 - torch.arange(x.shape[1])
    back = torch.where(from_last < 0, END, x.gather(1, from_last.clamp(min=0)))
    return {"label": ((kind == 2).sum(1) > 1).long(), "tag": kind, "source": back}
