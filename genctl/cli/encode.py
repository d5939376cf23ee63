"""genctl encode"""

from typing import Annotated

import typer

from genctl.cli import options, show


def encode(
    ckpt: options.Ckpt,
    input: options.Input = None,
    data: options.Data = None,
    split: options.Split = "test",
    n: Annotated[int | None, typer.Option("-n", "--n", min=2, max=10**6, help="How many examples; default all.")] = None,
    map_: Annotated[str, typer.Option("--map", help="How the map is drawn: pca, tsne or umap.")] = "pca",
    out: options.Out = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    as_json: options.Json = False,
) -> None:
    """Write the codes of examples, a map of them, and how well a linear probe reads the labels.

    Example: genctl encode --ckpt runs/latest --map tsne
    """
    from genctl.tasks import codes, examples, sample

    sampler = sample.Sampler.load(ckpt, device, show.say)
    where = examples.Where(input=input, data=data, split=split, n=n, seed=seed)
    found = codes.encode(sampler, where, map_, out or sample.default_out(ckpt, sampler, seed, "encode"))
    show.result(found, as_json, show.facts(found))
