"""Options that several commands share, written once."""

from pathlib import Path
from typing import Annotated

import typer

Ckpt = Annotated[Path, typer.Option(help="A run, a checkpoint folder or one safetensors file.")]
Input = Annotated[Path | None, typer.Option(metavar="FILE|FOLDER", help="Examples of your own, of the size the model knows.")]
Data = Annotated[
    str | None,
    typer.Option(metavar="SPEC", help="Where examples come from: 'mnist', 'toy2d,shape=ring8', a recipe; default the checkpoint's."),
]
Split = Annotated[str, typer.Option(help="Of that data: train, valid or test.")]
Out = Annotated[Path | None, typer.Option(help="A folder; default beside the run.")]
Seed = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="The result is a function of it.")]
FORM = r"{text}\n{label}\n\n"
Form = Annotated[
    str,
    typer.Option(metavar="TEXT", help=r"How an example is written: {a column} for the question, {another} for its answer; \n ends a line."),
]
Label = Annotated[str | None, typer.Option(help="A class, by number or name.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="key=value", help="How to draw, as in `genctl sample`.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
