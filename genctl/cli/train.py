"""genctl train"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from genctl.cli import show
from genctl.errors import GenctlError, safe_text


def overrides(positional: list[str] | None, named: list[str] | None, flags: Mapping[str, object]) -> list[tuple[str, str | None]]:
    """a.b=c words, --set a.b=c and flags as one list; a flag and an override that disagree are a usage error."""
    said: list[tuple[str, str | None]] = [(text, None) for text in [*(positional or []), *(named or [])]]
    for key, value in flags.items():
        if value is None:
            continue
        flag = f"--{key.split('.')[-1].replace('_', '-')}"
        for text, _ in said:
            name, _, other = text.partition("=")
            if name.strip() == key and other.strip() != str(value):
                raise GenctlError("usage", f"{flag} {value} and {text} disagree", "give one of them")
        said.append((f"{key}={value}", flag))
    return said


def train(
    config: Annotated[str | None, typer.Argument(help="A recipe: a YAML file, or the name of a shipped one.")] = None,
    changes: Annotated[list[str] | None, typer.Argument(metavar="[a.b=c]...", help="Overrides of single keys.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="a.b=c", help="The same as an option.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder; default runs/RECIPE-DATE-TIME.")] = None,
    resume: Annotated[Path | None, typer.Option(help="A run (or one checkpoint folder of it) to go on with; needs no recipe.")] = None,
    init_from: Annotated[
        Path | None, typer.Option(help="A checkpoint, or a folder of Hugging Face, whose fitting weights a new run starts from.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    precision: Annotated[str | None, typer.Option(help="fp32, bf16 or fp16: arithmetic of the forward pass.")] = None,
    compile: Annotated[bool, typer.Option("--compile", help="Compile the losses with torch.compile.")] = False,
    seed: Annotated[int | None, typer.Option(min=0, max=2**63 - 1, help="Everything random is a function of it.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, max=10**9, help="Optimiser steps in all.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, max=10**6, help="Examples a step.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the resolved recipe, parameters and memory; write nothing.")] = False,
    progress: Annotated[str, typer.Option(help="auto, bar, plain or none.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Train a model from a recipe, or go on with a run.

    Example: genctl train configs/autoencoder/vae-digits.yaml train.lr=5e-4 --steps 2000
    """
    if progress not in ("auto", "bar", "plain", "none"):
        raise GenctlError("usage", f"--progress {progress}: expected auto, bar, plain or none")
    if config and resume and "=" in config:  # `train --resume RUN a.b=c`: the first word is an override
        changes, config = [config, *(changes or [])], None
    if resume and init_from:
        raise GenctlError("usage", "--resume and --init-from exclude each other")
    flags = {
        "train.init_from": json.dumps(str(init_from)) if init_from else None,
        "train.seed": seed,
        "train.steps": steps,
        "train.batch": batch,
        "train.precision": precision,
        "train.compile": "true" if compile else None,
    }
    said = overrides(changes, set_, flags)
    from genctl.tasks import train as task

    request = task.Request(config, said, out, resume, device)
    if dry_run:
        found = task.dry_run(request)
        text = found.pop("yaml")
        facts = f"# {found['parameters']:,} parameters, about {found['memory_mb']} MB to train, {found['train_examples']:,} examples, device {found['device']}"
        show.result(found, as_json, [text.rstrip(), facts])
        return
    report = show.report(progress, quiet=as_json)
    try:
        done = task.train(request, report)
    finally:
        report.close()
    from genctl.training.distributed import is_first

    if is_first():
        show.result(done, as_json, [f"run {safe_text(done['run'], 4096)}", f"checkpoint {safe_text(done['checkpoint'], 4096)}"])
