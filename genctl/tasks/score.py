"""score: how strange each example is to a model, and how well that tells normal from abnormal."""

import csv
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genctl import powers
from genctl.contract import Batch, Spec
from genctl.errors import GenctlError, safe_text
from genctl.maths import decoding, noise
from genctl.media import text as letters
from genctl.tasks import examples, prompts
from genctl.tasks.examples import Where
from genctl.tasks.sample import Sampler, fill

NEEDS = {"log_prob": ["log_prob"], "energy": ["energy"], "reconstruction": ["encode", "decode"]}  # in the order of preference


def strangeness(sampler: Sampler, batch: Batch, by: str, seed: int) -> Tensor:
    """(N,), higher is stranger: -log p(x) or energy in nats, or the mean squared error of the reconstruction."""
    model: Any = sampler.model
    beside = examples.beside(model, batch)
    if by == "log_prob":
        return -examples.blocks(model, batch, seed, "log_prob", model.log_prob)
    if by == "energy":
        return examples.blocks(model, batch, seed, "energy", model.energy)
    x = examples.decode(sampler, examples.encode(sampler, batch, seed), beside, seed)
    return (x - batch.x).float().square().flatten(1).mean(1)


def by_line(sampler: Sampler, path: Path, seed: int, out: Path) -> dict[str, Any]:
    """Every line of a text file with its nats and what they are a symbol and a byte, in scores.csv; the least likely text a byte is named.

    A line ends with the end symbol where the data has one. Raises GenctlError (power, prompt-token, no-input, data-..., out-...).
    """
    model: Any = sampler.model
    if "causal" not in powers.of(type(model)):
        raise GenctlError("power", f"family '{sampler.recipe.family}' does not read text symbol by symbol", "genctl list powers")
    if model.conditions:
        raise GenctlError("power", f"this model is conditional on '{model.conditions[0]}', which lines do not have", "--data")
    lines, end = prompts.read(path), sampler.spec.end
    rows: list[Any] = []
    model.eval()
    for k, line in enumerate(lines):
        row = letters.encode(line, sampler.spec)
        row = torch.cat([row, torch.tensor([end])]) if end is not None else row
        if not len(row):
            continue
        with torch.no_grad(), noise.stream(seed, "score", k):
            nats = float(decoding.nats(model, row.to(model.device), sampler.window(len(row))).sum())
        size = len(line.encode()) + (end is not None)
        rows.append([k + 1, nats, len(row), nats / len(row), math.exp(min(nats / len(row), 700)), nats / size / math.log(2), line])

    def files(folder: Path) -> list[Path]:
        with (folder / "scores.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["line", "nats", "symbols", "nats_per_symbol", "perplexity", "bits_per_byte", "text"])
            table.writerows([k, f"{nats:.6g}", n, *(f"{v:.6g}" for v in rest), text] for k, nats, n, *rest, text in rows)
        return [folder / "scores.csv"]

    paths = fill(out, {**sampler.note(seed), "n": len(rows)}, files)
    total, count = sum(r[1] for r in rows), sum(r[2] for r in rows)
    said = {"n": len(rows), "symbols": count, "nats_per_symbol": total / count, "perplexity": math.exp(min(total / count, 700))}
    strange = [r[0] for r in sorted(rows, key=lambda r: -r[5])[:5]]
    return {**said, "strangest_lines": strange, "out": str(out), "files": [str(p) for p in paths]}


def score(sampler: Sampler, where: Where, by: str | None, normal: list[str], out: Path) -> dict[str, Any]:
    """Scores in scores.csv, the stranger the higher; and the area under the ROC curve where labels say what is normal.

    A text file is scored line by line. `normal`: classes by name or number; empty: those the model was trained on alone (`data.only`), where it was.
    Raises GenctlError (power, usage, no-input, data-..., out-...).
    """
    if where.input and where.input.suffix == ".txt" and sampler.spec.media == "text" and by is None:
        return by_line(sampler, where.input, where.seed, out)
    able = [k for k, needs in NEEDS.items() if set(needs) <= set(powers.of(type(sampler.model)))]
    if by is not None and by not in NEEDS:
        raise GenctlError("usage", f"--by {safe_text(by)}: expected one of {', '.join(NEEDS)}")
    if not able or (by is not None and by not in able):
        examples.need(sampler, *NEEDS[by or "log_prob"])
    by = by or able[0]
    batch, spec = examples.find(sampler, where)
    found = strangeness(sampler, batch, by, where.seed)
    label = batch.given.get("label")
    known = [] if label is None else classes(spec.given["label"], normal or [str(v) for v in getattr(sampler.recipe.data, "only", [])])
    if normal and label is None:
        raise GenctlError("usage", "--normal: these examples have no labels")

    def files(folder: Path) -> list[Path]:
        path = folder / "scores.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["index", "score", *(["label"] if label is not None else [])])
            for i, v in enumerate(found.tolist()):
                rows.writerow([i, f"{v:.9g}", *([label[i].item()] if label is not None else [])])
        return [path]

    paths = fill(out, {**sampler.note(where.seed), "n": len(found)}, files)
    said: dict[str, Any] = {
        "by": by,
        "n": len(found),
        "mean": found.mean().item(),
        "stranger_than_most": found.topk(min(5, len(found))).indices.tolist(),
    }
    if label is not None and known:
        said |= auroc(found, ~torch.isin(label, torch.tensor(known)))
    return {**said, "out": str(out), "files": [str(p) for p in paths]}


def classes(spec: Spec, wanted: list[str]) -> list[int]:
    """Classes by name or number. Raises GenctlError (usage)."""
    names = [str(v) for v in spec.codec.get("names", [])]
    found = [names.index(w) if w in names else int(w) if w.isdecimal() and len(w) < 9 else -1 for w in wanted]
    for w, k in zip(wanted, found, strict=True):
        if not 0 <= k < spec.vocab:
            raise GenctlError(
                "usage",
                f"'{safe_text(w)}' is no class: expected 0 to {spec.vocab - 1}" + (f" or one of {', '.join(names[:20])}" if names else ""),
            )
    return found


def auroc(strange: Tensor, abnormal: Tensor) -> dict[str, Any]:
    """P(an abnormal example is stranger than a normal one), ties half; its error by Hanley and McNeil 1982, eq. 2.

    https://doi.org/10.1148/radiology.143.1.7063747
    """
    n, m = int((~abnormal).sum()), int(abnormal.sum())
    if not n or not m:
        return {"auroc": None, "reason": "all of these examples are of one kind"}
    from sklearn.metrics import roc_auc_score

    a = float(roc_auc_score(abnormal.numpy(), strange.double().numpy()))
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    error = ((a * (1 - a) + (m - 1) * (q1 - a * a) + (n - 1) * (q2 - a * a)) / (n * m)) ** 0.5
    return {"auroc": a, "se": error, "normal": n, "abnormal": m}
