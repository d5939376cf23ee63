"""genctl repro"""

from pathlib import Path
from typing import Annotated

import typer

from genctl.cli import show


def repro(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[RECIPE]...", help="Recipes with an `expect` section; default all shipped.")
    ] = None,
    ckpt: Annotated[Path | None, typer.Option(help="A finished run of the one recipe named, instead of training it.")] = None,
    runs: Annotated[Path | None, typer.Option(help="Runs by recipe name: finished ones are scored, others trained here.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE.md", help="The table; default docs/results.md of the checkout.")] = None,
    weights: Annotated[Path | None, typer.Option(help="Inception weights (.safetensors).")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of the evaluation.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    progress: Annotated[str, typer.Option(help="auto, bar, plain or none.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Train recipes, measure what they expect, and write the table of results.

    Example: genctl repro vae-digits --runs runs/repro
    """
    from genctl.tasks import repro as task

    report = show.report(progress, quiet=as_json)
    try:
        found = task.repro(
            task.Request(names=names or [], ckpt=ckpt, runs=runs, out=out, weights=weights, seed=seed, device=device), report
        )
    finally:
        report.close()
    show.result(found, as_json, task.tables(found))
