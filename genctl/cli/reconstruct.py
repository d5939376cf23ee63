"""genctl reconstruct"""

from typing import Annotated

import typer

from genctl.cli import options, show


def reconstruct(
    ckpt: options.Ckpt,
    input: options.Input = None,
    data: options.Data = None,
    split: options.Split = "test",
    n: Annotated[int, typer.Option("-n", "--n", min=1, max=10**6, help="How many examples.")] = 16,
    out: options.Out = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    as_json: options.Json = False,
) -> None:
    """Encode examples and decode them again: what the model's code keeps.

    Example: genctl reconstruct --ckpt runs/latest --input photos
    """
    from genctl.tasks import codes, examples, sample

    sampler = sample.Sampler.load(ckpt, device, show.say)
    where = examples.Where(input=input, data=data, split=split, n=n, seed=seed)
    found = codes.reconstruct(sampler, where, out or sample.default_out(ckpt, sampler, seed, "reconstruct"))
    show.result(found, as_json, show.facts(found))
