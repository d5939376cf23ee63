"""genctl score"""

from typing import Annotated

import typer

from genctl.cli import options, show


def score(
    ckpt: options.Ckpt,
    input: options.Input = None,
    data: options.Data = None,
    split: options.Split = "test",
    n: Annotated[int | None, typer.Option("-n", "--n", min=1, max=10**6, help="How many examples; default all.")] = None,
    by: Annotated[str | None, typer.Option(help="log_prob, energy or reconstruction; default the first the model has.")] = None,
    normal: Annotated[
        str, typer.Option(metavar="CLASS[,CLASS]", help="What is normal, for the AUROC; default what the model was trained on.")
    ] = "",
    out: options.Out = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    as_json: options.Json = False,
) -> None:
    """Say how strange each example is to the model; the AUROC where labels are known.

    Example: genctl score --ckpt runs/latest --normal 8
    """
    from genctl.tasks import examples, sample
    from genctl.tasks import score as task

    sampler = sample.Sampler.load(ckpt, device, show.say)
    where = examples.Where(input=input, data=data, split=split, n=n, seed=seed)
    classes = [c.strip() for c in normal.split(",") if c.strip()]
    found = task.score(sampler, where, by, classes, out or sample.default_out(ckpt, sampler, seed, "score"))
    show.result(found, as_json, show.facts(found))
