"""genctl translate"""

from pathlib import Path
from typing import Annotated

import typer

from genctl.cli import options, show
from genctl.errors import GenctlError, safe_text


def translate(
    ckpt: options.Ckpt,
    input: Annotated[
        Path | None, typer.Option(metavar="FILE|FOLDER", help="A picture of any size or a folder of them; or a text, line by line.")
    ] = None,
    text: Annotated[str | None, typer.Option(help="One sentence, whose counterpart is printed.")] = None,
    to: Annotated[str, typer.Option(help="Where to, for models that know several ways.")] = "",
    tile: Annotated[int, typer.Option(min=16, max=4096, help="Larger pictures are done in squares of so many pixels.")] = 512,
    overlap: Annotated[int, typer.Option(min=0, max=1024, help="Pixels over which squares fade into each other.")] = 32,
    set_: options.Set = None,
    out: options.Out = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    as_json: options.Json = False,
) -> None:
    """Turn pictures or texts into their counterparts: line drawings into colour, small into large, English into German.

    Example: genctl translate --ckpt runs/latest --input photo.png --out translated
    """
    from genctl.tasks import sample, translate_text
    from genctl.tasks import translate as task

    if (input is None) == (text is None):
        raise GenctlError("usage", "give one of --input and --text")
    sampler = sample.Sampler.load(ckpt, device, show.say)
    draw = sampler.draw(set_)
    if text is not None:
        (said,), _ = translate_text.translated(sampler, [text], draw, seed, show.say, to)
        show.result({"text": text, "translation": said}, as_json, [safe_text(said, 100_000)])
        return
    assert input
    out = out or sample.default_out(ckpt, sampler, seed, "translate")
    if translate_text.source(sampler):
        found = translate_text.translate(sampler, input, draw, seed, out, show.say, to)
    else:
        found = task.translate(sampler, input, to, tile, overlap, draw, seed, out, show.say)
    show.result(found, as_json, show.facts(found))
