"""genctl list, inspect, init, runs: what there is. None of it needs torch, but for the recipe that `inspect` resolves."""

from pathlib import Path
from typing import Annotated

import typer

from genctl.cli import show
from genctl.errors import GenctlError, safe_text

ROOMS = ("families", "recipes", "data", "metrics", "powers")


def _table(rows: list[dict[str, object]], keys: list[str]) -> list[str]:
    cells = [[safe_text(r.get(k, ""), 200) for k in keys] for r in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells]


def list_(
    what: Annotated[str, typer.Argument(help="families, recipes, data, metrics or powers.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """List what genctl knows.

    Example: genctl list recipes
    """
    if what not in ROOMS:
        raise GenctlError("usage", f"there is no list of '{safe_text(what)}'; expected one of {', '.join(ROOMS)}")
    from genctl.tasks import inspect as task

    rows = task.listing(what)
    keys = {"recipes": ["name", "family", "data", "minutes", "path"], "families": ["group", "name", "summary"]}.get(
        what, ["name", "summary"]
    )
    show.result(rows, as_json, _table(rows, keys))


def inspect(
    what: Annotated[
        str, typer.Argument(metavar="RECIPE|CKPT|RUN", help="A recipe is resolved; a checkpoint's header is read in milliseconds.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show what a recipe means, or what a checkpoint is.

    Example: genctl inspect runs/latest
    """
    from genctl.tasks import inspect as task

    found, lines = task.inspect(what, show.say)
    show.result(found, as_json, lines)


def init(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe; see `genctl list recipes`.")],
    file: Annotated[Path | None, typer.Argument(help="Where to write; default RECIPE.yaml here.")] = None,
) -> None:
    """Copy a shipped recipe here, to change it.

    Example: genctl init vae-digits mine.yaml
    """
    from genctl.tasks import inspect as task

    print(task.init(recipe, file))


def runs(
    folder: Annotated[Path | None, typer.Argument(help="Default $GENCTL_RUNS or runs.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """List the runs in a folder, newest first.

    Example: genctl runs
    """
    from genctl.tasks import inspect as task

    rows = task.runs(folder)
    show.result(rows, as_json, _table(rows, ["name", "family", "data", "step", "steps", "state"]) or ["no runs here"])
