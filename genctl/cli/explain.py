"""genctl explain"""

from typing import Annotated

import typer

from genctl.cli import options, show


def explain(
    ckpt: options.Ckpt,
    prompt: Annotated[
        str | None, typer.Option(help="The text to explain; without one: a model of pictures, by its units and chains.")
    ] = None,
    label: options.Label = None,
    out: options.Out = None,
    device: options.Device = "auto",
    as_json: options.Json = False,
) -> None:
    """Show what a model looks at in a text, and which symbols surprise it; or its filters and chains, as pictures.

    Example: genctl explain --ckpt runs/latest --prompt "To be, or not to be" --out why
    """
    from genctl.tasks import explain as task
    from genctl.tasks import portray, sample

    sampler = sample.Sampler.load(ckpt, device, show.say)
    beside = sampler.label(label) if label is not None else None
    out = out or sample.default_out(ckpt, sampler, 0, "explain")
    found = portray.portray(sampler, out) if prompt is None else task.explain(sampler, prompt, out, beside)
    show.result(found, as_json, show.facts(found))
