"""Metrics of sentences that are given, not of data: the bias audit, and what few examples teach."""

from pathlib import Path
from typing import Any

import torch

from genctl.contract import Batch
from genctl.data._cells import objects
from genctl.errors import GenctlError, safe_text
from genctl.metrics import Case, Likelihood, Metric, Score
from genctl.tasks import stamp
from genctl.tasks.sample import Sampler
from genctl.tasks.shots import Form, read

KEYS = ("group", "stereotype", "anti", "unrelated")


def items(path: Path) -> list[dict[str, str]]:
    """The items of a file of JSON lines. Raises GenctlError (no-input, data-format, data-empty, limit)."""
    found = objects(path, "{" + ", ".join(f'"{k}": ...' for k in KEYS) + "}")
    for line, item in found:
        if set(item) != set(KEYS) or not all(isinstance(v, str) and v for v in item.values()):
            raise GenctlError("data-format", f"{safe_text(path)}: line {line} has not the texts {', '.join(KEYS)}, and only those")
    return [item for _, item in found]


def shots(path: Path, form: str) -> list[dict[str, str]]:
    """Examples in pieces: before their answer, the answer, behind it. Raises GenctlError (usage, no-input, data-...)."""
    way = Form.read(form)
    return [{"before": way.asked(question), "answer": answer, "behind": way.behind} for question, answer in read(path, way)]


def measured(name: str, metric: Metric, sampler: Sampler | None, likelihood: Likelihood | str, ask: Any) -> dict[str, Any]:
    """The metric's figures with their stamp, or the reason why there are none. ask: as `eval` takes it."""
    if isinstance(likelihood, str) or sampler is None or sampler.spec.media != "text":
        return Score(value=None, reason=likelihood if isinstance(likelihood, str) else "this model writes no text").plain()
    if sampler.model.conditions:
        return Score(
            value=None, reason=f"this model is conditional on '{sampler.model.conditions[0]}', which sentences do not have"
        ).plain()
    path = ask.examples if "examples" in metric.NEEDS else ask.templates
    given = None if path is None else shots(path, ask.form) if "examples" in metric.NEEDS else items(path)
    nothing = Batch(x=torch.empty(0))
    case = Case(spec=sampler.spec, reference=nothing, likelihood=likelihood, templates=given, seed=ask.seed, folder=ask.folder or Path())
    score = metric.measure(case)
    n = score.fields.get("items", 0)
    about = {
        "metric": name,
        "data": str(path or "built in"),
        "split": "all",
        "fingerprint": stamp.short(given),
        "n": n,
        "n_reference": n,
    }
    own = {"checkpoint": sampler.header.digest, "family": sampler.recipe.family, "seed": ask.seed, "versions": stamp.versions()}
    return {**score.plain(metric.HIGHER), "n": n, "stamp": stamp.seal({**about, **own})}
