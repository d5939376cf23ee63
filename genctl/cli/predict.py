"""genctl predict"""

import json
from pathlib import Path
from typing import Annotated

import typer

from genctl.cli import options, show
from genctl.errors import safe_text


def predict(
    ckpt: options.Ckpt,
    input: Annotated[
        Path, typer.Option(metavar="FILE", help="A .txt (a text a line), .csv, .tsv or .jsonl; or pictures, a table, an npz.")
    ],
    field: Annotated[str, typer.Option(help="The column or key of the text.")] = "text",
    out: Annotated[Path | None, typer.Option(metavar="FILE.jsonl", help="Write here instead of printing.")] = None,
    device: options.Device = "auto",
    as_json: options.Json = False,
) -> None:
    """Tell the class, the entities or the answer in examples of your own, one JSON object each.

    Example: genctl predict --ckpt runs/latest --input reviews.txt
    """
    from genctl.tasks import predict as task
    from genctl.tasks import sample

    sampler = sample.Sampler.load(ckpt, device, show.say)
    found = task.predict(sampler, input, field)
    if out:
        task.write(found, out)
        show.result({"n": len(found), "out": str(out)}, as_json, [f"{len(found):,} examples in {safe_text(out, 400)}"])
    else:
        show.result(found, as_json, [json.dumps(row, ensure_ascii=False) for row in found])
