"""genctl traverse"""

from typing import Annotated

import typer

from genctl.cli import options, show
from genctl.errors import GenctlError, safe_text


def traverse(
    ckpt: options.Ckpt,
    from_: Annotated[str, typer.Option("--from", metavar="SEED|FILE", help="A seed: its first sample; or an example of your own.")] = "0",
    dims: Annotated[str, typer.Option(metavar="I,J,...", help="Which numbers of the code; default the eight that vary most.")] = "",
    steps: Annotated[int, typer.Option(min=2, max=100, help="Samples for each.")] = 11,
    reach: Annotated[float, typer.Option(min=0, max=100, help="How far, in standard deviations.")] = 2.5,
    label: options.Label = None,
    out: options.Out = None,
    device: options.Device = "auto",
    as_json: options.Json = False,
) -> None:
    """Move one number of a code at a time: what each of them means.

    Example: genctl traverse --ckpt runs/latest --dims 0,3
    """
    from genctl.tasks import codes, sample

    wanted = [d.strip() for d in dims.split(",") if d.strip()]
    if wrong := [d for d in wanted if not d.isdecimal() or len(d) > 9]:
        raise GenctlError("usage", f"--dims {safe_text(wrong[0])}: expected numbers such as 0,3")
    sampler = sample.Sampler.load(ckpt, device, show.say)
    beside = sampler.label(label) if label is not None else {}
    out = out or sample.default_out(ckpt, sampler, 0, "traverse")
    found = codes.traverse(sampler, from_, [int(d) for d in wanted], steps, reach, beside, out)
    show.result(found, as_json, show.facts(found))
