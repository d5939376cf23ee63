"""repro: trains a recipe (or takes a run of it), measures what its `expect` names, and writes the table of results.

docs/results.json holds one record a recipe and metric, with its full stamp; docs/results.md is written from it between two markers.
Figures whose stamps or protocols differ stand in tables of their own.
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genctl import catalog, checkpoint, durable, header, recipe
from genctl.errors import GenctlError, safe_text
from genctl.recipe import Expect, Recipe
from genctl.tasks import evaluate as scores
from genctl.tasks import stamp
from genctl.tasks import train as training
from genctl.training import journal
from genctl.training.trainer import Report

BEGIN, END = "<!-- begin: written by `genctl repro`; do not edit -->", "<!-- end -->"
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the command line asks for. runs: where runs are looked for by the recipe's name, and made."""

    names: list[str]
    ckpt: Path | None = None
    runs: Path | None = None
    out: Path | None = None
    weights: Path | None = None
    seed: int = 0
    device: str = "auto"


def repro(ask: Request, report: Report) -> list[dict[str, Any]]:
    """One record a target, each recipe's written down as soon as they are known. Raises GenctlError (usage and what train and eval raise)."""
    chosen = ask.names or [name for name, path in catalog.recipes().items() if recipe.read(str(path))[0].expect]
    if not chosen:
        raise GenctlError("usage", "no shipped recipe has an `expect` section", "genctl repro RECIPE")
    if ask.ckpt and len(chosen) != 1:
        raise GenctlError("usage", "--ckpt goes with one recipe", "genctl repro RECIPE --ckpt CKPT")
    plans = {name: _plan(name) for name in chosen}
    records = []
    for name, plan in plans.items():
        found = _one(name, plan, ask, report)
        records += found
        write(ask.out or home(), found)
        for record in found:
            verdict = "met" if record["met"] else "MISSED"
            report.say(f"{name}: {record['metric']} {scores.figure(record['figure'])}, target {record['target']} {verdict}")
    return records


def _plan(name: str) -> Recipe:
    plan, _ = recipe.read(name)
    if plan.expect is None:
        raise GenctlError("usage", f"recipe '{safe_text(name)}' has no `expect` section: there is nothing to compare with")
    _gates(plan.expect)
    return plan


def _gates(expect: Expect) -> list[stamp.Target]:
    """The recipe's targets in the grammar of --fail-if."""
    return [stamp.target(f"{metric} {target}") for metric, target in expect.targets.items()]


def home() -> Path:
    """docs/results.md of a checkout, else ./results.md."""
    docs = catalog.recipes_home().parent / "docs"
    return docs / "results.md" if docs.is_dir() else Path("results.md")


# --- one recipe --------------------------------------------------------------------------------------------------------------


def _one(name: str, plan: Recipe, ask: Request, report: Report) -> list[dict[str, Any]]:
    expect = plan.expect
    assert expect is not None
    gates = _gates(expect)
    where, minutes = (ask.ckpt, _minutes(ask.ckpt)) if ask.ckpt else _train(name, plan, ask, report)
    _same_recipe(plan, where, report.say)
    score = scores.Request(
        metrics=list(dict.fromkeys(gate.metric for gate in gates)),
        ckpt=where,
        n=expect.n or None,
        weights=ask.weights,
        seed=ask.seed,
        device=ask.device,
        folder=where / "samples" if (where / "samples").is_dir() else None,
    )
    found = scores.evaluate(score, report.say)["results"]
    return [
        _record(Path(name).stem, plan, gate, target, found, minutes) for gate, target in zip(gates, expect.targets.items(), strict=True)
    ]


def _record(
    title: str, plan: Recipe, gate: stamp.Target, target: tuple[str, str], found: dict[str, Any], minutes: float | None
) -> dict[str, Any]:
    expect = plan.expect
    assert expect is not None
    result, figure = found[gate.metric], gate.figure(found)
    se = result.get(f"{gate.field}_se", result["se"] if figure == result["value"] else None)
    return {
        "recipe": title,
        "family": plan.family,
        "metric": target[0],
        "figure": figure if math.isfinite(figure) else str(figure),
        "se": se,
        "floor": result["floor"],
        "target": target[1],
        "met": math.isfinite(figure) and gate.holds(found),
        "published": expect.published,
        "source": expect.source,
        "protocol": expect.protocol,
        "minutes": minutes,
        "minutes_stated": expect.minutes,
        "result": {k: v for k, v in result.items() if k != "stamp"},
        "stamp": result["stamp"],
    }


def _train(name: str, plan: Recipe, ask: Request, report: Report) -> tuple[Path, float | None]:
    """(run, minutes of training): a finished run is taken as it is, an unfinished one goes on."""
    run = (ask.runs or training.runs_home() / "repro") / Path(name).stem
    if (run / "checkpoints").is_dir() and durable.steps(run / "checkpoints"):
        step = durable.newest(run / "checkpoints", report.say)
        if step and step.number < plan.train.steps:
            training.train(training.Request(recipe=name, resume=run, device=ask.device), report)
        return run, _minutes(run)
    start = time.monotonic()
    training.train(training.Request(recipe=name, out=run, device=ask.device), report)
    return run, round((time.monotonic() - start) / 60, 2)


def _minutes(run: Path) -> float | None:
    """Minutes of training by the journal: steps over the rate that it last wrote down; None without one."""
    known = [e for e in journal.read(run / "journal.jsonl") if e.get("rate") and e.get("step")] if run.is_dir() else []
    return round(float(known[-1]["step"]) / float(known[-1]["rate"]) / 60, 2) if known else None


def _same_recipe(plan: Recipe, ckpt: Path, say: Say) -> None:
    """Raises GenctlError (ckpt-mismatch) when a checkpoint was trained otherwise than the recipe says, or not to its end."""
    head = header.read(durable.locate(ckpt, say))
    old, _ = checkpoint.understand(head)
    differ, _ = recipe.changes(old.plain(), plan.plain())
    if old.family != plan.family or differ:
        keys = ", ".join(differ[:5]) or "family"
        raise GenctlError(
            "ckpt-mismatch", f"{safe_text(ckpt)} was not trained by this recipe: {keys} differ", "train it anew, or fix the recipe"
        )
    if head.meta.get("step") != plan.train.steps:
        raise GenctlError("ckpt-mismatch", f"{safe_text(ckpt)} stands at step {head.meta.get('step')} of {plan.train.steps}")


# --- the table ---------------------------------------------------------------------------------------------------------------


def write(path: Path, records: list[dict[str, Any]]) -> None:
    """Adds records to results.json, replacing those of the same recipe and metric, and writes the tables anew."""
    store = path.with_suffix(".json")
    try:
        known = json.loads(store.read_text(encoding="utf-8")) if store.exists() else []
        whole = {(r["recipe"], r["metric"]): r for r in [*known, *records]}
        ordered = sorted(whole.values(), key=lambda r: (r["metric"], r["recipe"]))
        path.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text(encoding="utf-8") if path.exists() else f"# Results\n\nWhat the recipes reach.\n\n{BEGIN}\n{END}\n"
        store.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        path.write_text(between(text, "\n".join(tables(ordered))), encoding="utf-8")
    except OSError as e:
        raise GenctlError("out-unwritable", f"{safe_text(path)}: {safe_text(e.strerror)}", "give another --out") from None
    except (ValueError, KeyError, TypeError):
        raise GenctlError("data-format", f"{safe_text(store)} is not a list of results", "move it away, and run repro again") from None


def between(text: str, inside: str) -> str:
    """The text with what stands between the markers replaced; markers are added at the end where there are none."""
    if BEGIN not in text or END not in text.split(BEGIN, 1)[1]:
        text = f"{text.rstrip()}\n\n{BEGIN}\n{END}\n"
    before, rest = text.split(BEGIN, 1)
    return f"{before}{BEGIN}\n\n{inside}\n\n{END}{rest.split(END, 1)[1]}"


def tables(records: list[dict[str, Any]]) -> list[str]:
    """Markdown: one table for each set of figures that may be compared."""
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for r in records:
        groups.setdefault((r["metric"], r["stamp"]["like"], r["protocol"]), []).append(r)
    out: list[str] = []
    for (metric, _, protocol), rows in groups.items():
        out += (
            ([""] if out else [])
            + [f"## {metric} on {_about(rows[0]['stamp'])}", ""]
            + ([f"Protocol: {_cell(protocol)}.", ""] if protocol else [])
        )
        out += ["| recipe | figure | target | | published | minutes | stamp |", "| --- | --- | --- | --- | --- | --- | --- |"]
        for r in rows:
            figure = scores.figure(r["figure"]) + (f" +- {r['se']:.2g}" if isinstance(r["se"], float) else "")
            verdict = "met" if r["met"] else "**MISSED**"
            published = _cell(r["published"]) + (f" ({_cell(r['source'])})" if r["source"] else "")
            minutes = f"{r['minutes']:.1f}" if r["minutes"] is not None else "not measured"
            cells = [
                r["recipe"],
                figure,
                f"`{r['target']}`",
                verdict,
                published,
                f"{minutes} (stated {r['minutes_stated']:g})",
                f"`{r['stamp']['id']}`",
            ]
            out.append("| " + " | ".join(cells) + " |")
    return out + toys(records)


def toys(records: list[dict[str, Any]]) -> list[str]:
    """Every family on made data beside the others. Modes and quality compare between rows of one set; distances only if of one kind."""
    lines = {}
    for r in records:
        if r["metric"].split(".")[0] == "truth":
            found = r["result"]
            kind = next(k for k in ("tv", "kl", "kl_knn") if k in found)
            distance = f"{kind} {scores.figure(found[kind])} ({found['tv_is'] if kind == 'tv' else found['is']})"
            modes = f"{found['modes']} of {found['modes_of']}" if "modes" in found else ""
            quality = f"{found['high_quality']:.1%} (truth {found['high_quality_truth']:.1%})"
            shape = r["stamp"]["settings"].get("shape", "")
            cells = f"{r['stamp']['data']} {shape}".strip(), r["family"], r["recipe"], distance, modes, quality
            lines[cells[0], r["recipe"]] = "| " + " | ".join(cells) + " |"
    if not lines:
        return []
    head = ["", "## The toy suite", "", "Distances of one kind compare, others do not; `docs/scores.md` says what each is.", ""]
    return [*head, "| data | family | recipe | distance | modes | high quality |", "|" + " --- |" * 6, *(lines[k] for k in sorted(lines))]


def _about(s: dict[str, Any]) -> str:
    """What the figures of one table share."""
    settings = [f"{k} {v}" for k, v in s["settings"].items() if v not in (None, 0, False, "none", "")]
    label = f", {s['is']}" if s.get("is") else ""
    extractor = f", features of {s['extractor']['name']} `{s['extractor']['sha256'][:12]}`" if s.get("extractor") else ""
    return f"{s['data']}{' (' + ', '.join(settings) + ')' if settings else ''}, {s['split']} split{label}, n {s['n']:,}{extractor}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
