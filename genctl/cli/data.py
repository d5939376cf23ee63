"""genctl data info | preview | prepare"""

from pathlib import Path
from typing import Annotated

import typer

from genctl.cli import show

app = typer.Typer(help="Look at data, or fetch a named set.", no_args_is_help=True, pretty_exceptions_enable=False)
Source = Annotated[
    str, typer.Argument(metavar="SPEC", help="A recipe, or a set with its keys: 'mnist', 'toy2d,shape=ring8', 'images,path=photos'.")
]


@app.command("info")
def info(source: Source, as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False) -> None:
    """What a dataset holds: its Spec, the sizes of its splits, the range of its values.

    Example: genctl data info toy2d,shape=ring8
    """
    from genctl.tasks import data as task

    found = task.info(source)
    show.result(found, as_json, [f"{k}: {v}" for k, v in found.items()])


@app.command("preview")
def preview(
    source: Source,
    out: Annotated[Path, typer.Option(help="Where; the medium adds its suffix.")] = Path("preview"),
    n: Annotated[int, typer.Option("-n", "--n", min=1, max=10_000)] = 64,
) -> None:
    """Write the first training examples as a picture or text, as the model sees them.

    Example: genctl data preview mnist --out mnist
    """
    from genctl.tasks import data as task

    print(task.preview(source, out, n))


@app.command("prepare")
def prepare(
    name: Annotated[
        str, typer.Argument(metavar="NAME|SPEC", help="A named set such as mnist, inception (the FID weights), or a corpus to tokenise.")
    ],
    out: Annotated[Path | None, typer.Option(help="A folder; default $GENCTL_DATA (the cache for inception).")] = None,
    mirror: Annotated[str | None, typer.Option(help="A base URL to try first.")] = None,
) -> None:
    """Fetch a named thing from its official mirrors, its sha256 pinned; or tokenise a corpus ahead of training.

    Example: genctl data prepare mnist --out data
    """
    from genctl.tasks import prepare as task

    for path in task.prepare(name, out, mirror, show.say):
        print(path)
