"""genctl impute"""

from typing import Annotated

import typer

from genctl.cli import options, show


def impute(
    ckpt: options.Ckpt,
    input: options.Input = None,
    data: options.Data = None,
    split: options.Split = "test",
    n: Annotated[int, typer.Option("-n", "--n", min=1, max=10**6, help="How many examples.")] = 16,
    mask: Annotated[
        str, typer.Option(metavar="WHERE|FILE", help="What to hide: left, right, top, bottom, box, random, or a picture's white.")
    ] = "bottom",
    share: Annotated[float, typer.Option(min=0, max=1, help="How much of it.")] = 0.5,
    draws: Annotated[int, typer.Option(min=1, max=100, help="Completions of each.")] = 3,
    set_: options.Set = None,
    out: options.Out = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    as_json: options.Json = False,
) -> None:
    """Hide a part of examples and draw it anew, given the rest.

    Example: genctl impute --ckpt runs/latest --mask left
    """
    from genctl.tasks import examples, sample
    from genctl.tasks import impute as task

    sampler = sample.Sampler.load(ckpt, device, show.say)
    where = examples.Where(input=input, data=data, split=split, n=n, seed=seed)
    out = out or sample.default_out(ckpt, sampler, seed, "impute")
    found = task.impute(sampler, where, mask, share, draws, sampler.draw(set_), out)
    show.result(found, as_json, show.facts(found))
