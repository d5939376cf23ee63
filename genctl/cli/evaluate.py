"""genctl eval"""

from pathlib import Path
from typing import Annotated

import typer

from genctl.cli import options, show
from genctl.errors import EXIT


def evaluate(
    metric: Annotated[list[str], typer.Option(metavar="NAME[,NAME]", help="What to measure; see `genctl list metrics`.")],
    ckpt: Annotated[Path | None, typer.Option(help="A run, a checkpoint folder or one safetensors file.")] = None,
    samples: Annotated[Path | None, typer.Option(metavar="DIR|FILE.npz", help="Samples instead of a checkpoint.")] = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="SPEC", help="What to compare with: 'mnist', 'toy2d,shape=ring8', a recipe; default the checkpoint's."),
    ] = None,
    n: Annotated[int | None, typer.Option("-n", "--n", min=2, max=10**6, help="Samples (10,000), or held-out examples (all).")] = None,
    weights: Annotated[Path | None, typer.Option(help="Inception weights (.safetensors); also $GENCTL_INCEPTION_WEIGHTS.")] = None,
    resize: Annotated[str, typer.Option(help="How Inception is fed: pytorch-fid, or tensorflow (as torch-fidelity).")] = "pytorch-fid",
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="key=value", help="How to draw, as in `genctl sample`.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Samples and subsets are a function of it.")] = 0,
    split: Annotated[str, typer.Option(help="The real data to compare with: train, valid or test.")] = "test",
    templates: Annotated[
        Path | None, typer.Option(metavar="FILE.jsonl", help="Sentences for the bias audit; default those built in.")
    ] = None,
    examples: Annotated[Path | None, typer.Option(metavar="FILE", help="Questions and answers, a .jsonl or .csv, for `fewshot`.")] = None,
    form: options.Form = options.FORM,
    fail_if: Annotated[list[str] | None, typer.Option(metavar="'fid>30'", help="Exit with 81 when this holds; may be repeated.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE.json", help="Also write the scores here, and pictures beside them.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Score a checkpoint, or samples, against real data or the known truth.

    Example: genctl eval --ckpt runs/latest --metric fid,nll --fail-if 'fid>30'
    """
    from genctl.tasks import evaluate as task

    run = ckpt / "samples" if ckpt and (ckpt / "samples").is_dir() else None
    beside = out.parent if out else run or (samples.parent if samples else Path())
    ask = task.Request(
        metrics=metric,
        ckpt=ckpt,
        samples=samples,
        data=data,
        n=n,
        weights=weights,
        resize=resize,
        seed=seed,
        split=split,
        fail_if=fail_if or [],
        draw=set_ or [],
        templates=templates,
        examples=examples,
        form=form,
        device=device,
        folder=beside,
    )
    found = task.evaluate(ask, show.say)
    if out:
        task.write(found, out)
    show.result(found, as_json, task.lines(found["results"]))
    if found["failed"]:
        show.say(f"genctl: error[gate]: --fail-if holds: {', '.join(found['failed'])}")
        raise typer.Exit(EXIT["gate"])
