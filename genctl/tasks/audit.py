"""Metrics of sentences that are given, not of data: the bias audit."""

from pathlib import Path
from typing import Any

import torch

from genctl.contract import Batch
from genctl.data._cells import objects
from genctl.errors import GenctlError, safe_text
from genctl.metrics import Case, Likelihood, Metric, Score
from genctl.tasks import stamp
from genctl.tasks.sample import Sampler

KEYS = ("group", "stereotype", "anti", "unrelated")


def items(path: Path) -> list[dict[str, str]]:
    """The items of a file of JSON lines. Raises GenctlError (no-input, data-format, data-empty, limit)."""
    found = objects(path, "{" + ", ".join(f'"{k}": ...' for k in KEYS) + "}")
    for line, item in found:
        if set(item) != set(KEYS) or not all(isinstance(v, str) and v for v in item.values()):
            raise GenctlError("data-format", f"{safe_text(path)}: line {line} has not the texts {', '.join(KEYS)}, and only those")
    return [item for _, item in found]


def measured(
    name: str, metric: Metric, sampler: Sampler | None, likelihood: Likelihood | str, templates: Path | None, seed: int
) -> dict[str, Any]:
    """The metric's figures with their stamp, or the reason why there are none."""
    if isinstance(likelihood, str) or sampler is None or sampler.spec.media != "text":
        return Score(value=None, reason=likelihood if isinstance(likelihood, str) else "this model writes no text").plain()
    given = items(templates) if templates else None
    score = metric.measure(Case(spec=sampler.spec, reference=Batch(x=torch.empty(0)), likelihood=likelihood, templates=given))
    n = score.fields.get("items", 0)
    about = {
        "metric": name,
        "data": str(templates or "built in"),
        "split": "all",
        "fingerprint": stamp.short(given),
        "n": n,
        "n_reference": n,
    }
    own = {"checkpoint": sampler.header.digest, "family": sampler.recipe.family, "seed": seed, "versions": stamp.versions()}
    return {**score.plain(metric.HIGHER), "n": n, "stamp": stamp.seal({**about, **own})}
