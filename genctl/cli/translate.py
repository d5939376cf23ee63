"""genctl translate"""

from pathlib import Path
from typing import Annotated

import typer

from genctl.cli import options, show


def translate(
    ckpt: options.Ckpt,
    input: Annotated[Path, typer.Option(metavar="FILE|FOLDER", help="A picture of any size, or a folder of them.")],
    to: Annotated[str, typer.Option(help="Where to, for models that know several ways.")] = "",
    tile: Annotated[int, typer.Option(min=16, max=4096, help="Larger pictures are done in squares of so many pixels.")] = 512,
    overlap: Annotated[int, typer.Option(min=0, max=1024, help="Pixels over which squares fade into each other.")] = 32,
    set_: options.Set = None,
    out: options.Out = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    as_json: options.Json = False,
) -> None:
    """Turn pictures into their counterparts: line drawings into colour, small into large, one kind into another.

    Example: genctl translate --ckpt runs/latest --input photo.png --out translated
    """
    from genctl.tasks import sample
    from genctl.tasks import translate as task

    sampler = sample.Sampler.load(ckpt, device, show.say)
    out = out or sample.default_out(ckpt, sampler, seed, "translate")
    found = task.translate(sampler, input, to, tile, overlap, sampler.draw(set_), seed, out, show.say)
    show.result(found, as_json, show.facts(found))
