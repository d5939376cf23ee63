"""genctl search"""

from pathlib import Path
from typing import Annotated

import typer

from genctl.cli import options, show
from genctl.errors import safe_text


def search(
    query: Annotated[str, typer.Argument(help="What to look for.")],
    ckpt: options.Ckpt,
    index: Annotated[Path, typer.Option(metavar="FILE.txt", help="Where to look: each line is a text.")],
    k: Annotated[int, typer.Option("-k", "--k", min=1, max=10**6, help="How many lines to show.")] = 5,
    device: options.Device = "auto",
    as_json: options.Json = False,
) -> None:
    """Find the lines of a text that mean nearly the same as a question.

    Example: genctl search --ckpt runs/latest --index corpus.txt "my card has not arrived"
    """
    from genctl.tasks import sample
    from genctl.tasks import search as task

    sampler = sample.Sampler.load(ckpt, device, show.say)
    found = task.search(sampler, index, query, k, show.say)
    show.result(found, as_json, [f"{row['likeness']:.3f}  {row['line']:>6}  {safe_text(row['text'], 400)}" for row in found])
