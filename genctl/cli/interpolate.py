"""genctl interpolate"""

from typing import Annotated

import typer

from genctl.cli import options, show


def interpolate(
    ckpt: options.Ckpt,
    from_: Annotated[str, typer.Option("--from", metavar="SEED|FILE", help="A seed: its first sample; or an example of your own.")] = "0",
    to: Annotated[str, typer.Option(metavar="SEED|FILE", help="Where to.")] = "1",
    frames: Annotated[int, typer.Option(min=2, max=1000, help="Samples on the way, both ends with them.")] = 16,
    path: Annotated[str, typer.Option(help="spherical (codes keep the length of Gaussian draws) or linear.")] = "spherical",
    label: options.Label = None,
    out: options.Out = None,
    device: options.Device = "auto",
    as_json: options.Json = False,
) -> None:
    """Walk through the codes from one sample to another; pictures also as a GIF.

    Example: genctl interpolate --ckpt runs/latest --from 3 --to photo.png
    """
    from genctl.tasks import codes, sample

    sampler = sample.Sampler.load(ckpt, device, show.say)
    beside = sampler.label(label) if label is not None else {}
    out = out or sample.default_out(ckpt, sampler, 0, "interpolate")
    found = codes.interpolate(sampler, (from_, to), frames, path, beside, out)
    show.result(found, as_json, show.facts(found))
