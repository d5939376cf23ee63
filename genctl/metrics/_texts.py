"""What metrics of texts have in common: what the model wrote, what it should have written, what it read, how likely it finds a text, and libraries."""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from genctl.contract import Spec
from genctl.media import text
from genctl.metrics import Case, Score, jackknife


@dataclass(frozen=True)
class Texts:
    """Lists of one length. references: one or several for each."""

    written: list[str]
    references: list[tuple[str, ...]]
    sources: list[str]

    def at(self, rows: list[int]) -> "Texts":
        return Texts(*([side[i] for i in rows] for side in (self.written, self.references, self.sources)))  # type: ignore[arg-type]

    def copied(self) -> "Texts":
        """The source handed back as it is."""
        return Texts(self.sources, self.references, self.sources)

    def streams(self) -> list[list[str | None]]:
        """References as sacrebleu takes them: the first of each, the second of each, ..., None where there is none."""
        most = max(map(len, self.references))
        return [[r[k] if k < len(r) else None for r in self.references] for k in range(most)]


def read(case: Case) -> Texts | Score:
    """The texts of a case, or why there are none."""
    assert case.samples is not None and case.pairs is not None
    spec = case.spec
    if spec.media != "text":
        return Score(value=None, reason="needs texts")
    said = case.said or list(zip(_sources(case), ((t,) for t in decoded(case.pairs.x, spec)), strict=True))
    return Texts([t.strip() for t in decoded(case.samples, spec)], [targets for _, targets in said], [source for source, _ in said])


def _sources(case: Case) -> list[str]:
    assert case.pairs is not None
    beside = next(((name, s) for name, s in case.spec.given.items() if s.media == "text"), None)
    return decoded(case.pairs.given[beside[0]], beside[1]) if beside else [""] * len(case.pairs)


def decoded(x: Tensor, spec: Spec) -> list[str]:
    return [text.decode(row, spec) for row in x]


def library(name: str) -> ModuleType | Score:
    """A package of the 'text' extra, or why it is not here."""
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        return Score(value=None, reason=f"needs the 'text' extra ({name.split('.')[0]}): pip install 'genctl[text]'")


def corpus(case: Case, make: Callable[[Any], tuple[Any, dict[str, Any]]]) -> Score:
    """A figure of sacrebleu over all texts, with a standard error by the jackknife and, as `copy`, that of the source handed back.

    make   sacrebleu.metrics -> (the metric, further ones by the name of their field)
    """
    found, metrics = read(case), library("sacrebleu.metrics")
    if isinstance(found, Score) or isinstance(metrics, Score):
        return found if isinstance(found, Score) else metrics  # type: ignore[return-value]
    metric, others = make(metrics)

    def figure(m: Any, texts: Texts) -> float:
        return float(m.corpus_score(texts.written, texts.streams()).score)

    se = jackknife(lambda rows: figure(metric, found.at(rows.tolist())), len(found.written)) if len(found.written) > 1 else None
    fields = {name: figure(m, found) for name, m in others.items()} | {"copy": figure(metric, found.copied())}
    value = figure(metric, found)
    return Score(value=value, se=se, fields={**fields, "signature": str(metric.get_signature())})


def mean(values: list[float]) -> tuple[float, float | None]:
    """The mean over examples and its standard error."""
    v = torch.tensor(values, dtype=torch.float64)
    return v.mean().item(), (v.std() / len(v) ** 0.5).item() if len(v) > 1 else None


def nats(sentences: list[str], case: Case) -> Tensor:
    """(n,) log probability of each, with its end where the data has one. Raises GenctlError (prompt-token)."""
    assert case.likelihood is not None and case.likelihood.of is not None
    rows = [text.encode(s, case.spec) for s in sentences]
    found = torch.empty(len(rows))
    for length in sorted({len(r) for r in rows}):  # rows of one length are one batch
        at = [i for i, r in enumerate(rows) if len(r) == length]
        found[at] = case.likelihood.of(filled(torch.stack([rows[i] for i in at]), case.spec)).float()
    return found


def filled(x: Tensor, spec: Spec) -> Tensor:
    """Rows (B, T) with their end behind them, as long as a row of the data is; running text stays as it is."""
    if spec.end is None:
        return x
    return torch.cat([x, torch.full((len(x), spec.size - x.shape[1]), spec.end)], 1)
