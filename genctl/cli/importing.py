"""genctl import"""

from pathlib import Path
from typing import Annotated

import typer

from genctl.cli import options, show
from genctl.errors import GenctlError, safe_text


def import_(
    folder: Annotated[
        Path,
        typer.Argument(
            help="config.json, tokenizer.json and safetensors of a GPT-2, Llama, BERT or T5; a PEFT adapter; or a DDPMPipeline."
        ),
    ],
    from_: Annotated[str, typer.Option("--from", metavar="hf|peft|diffusers", help="Whose layout it is.")] = "hf",
    out: Annotated[Path | None, typer.Option(help="The checkpoint to write; default FOLDER.safetensors here.")] = None,
    context: Annotated[
        int, typer.Option(min=0, max=2**24, help="Symbols that the model reads at most; 0: its own number, up to 4,096.")
    ] = 0,
    base: Annotated[Path | None, typer.Option(metavar="CKPT", help="What a PEFT adapter is merged into.")] = None,
    as_json: options.Json = False,
) -> None:
    """Turn a model of Hugging Face, given as a local folder, into a checkpoint.

    It samples, fine-tunes (`train --init-from`) and scores like any other. Pickles are refused: they can run code.

    Example: genctl import gpt2 --from hf
    """
    from genctl.tasks import move as task

    if from_ not in ("hf", "peft", "diffusers") or (from_ == "peft") != (base is not None):
        raise GenctlError("usage", f"--from {safe_text(from_)}: expected hf, diffusers, or peft with --base CKPT")
    if base:
        found = task.from_peft(folder, base, out)
        lines = [f"{found['layers']} layers of a {found['family']} corrected, in {safe_text(found['out'])}"]
    elif from_ == "diffusers":
        found = task.from_diffusers(folder, out)
        lines = [f"{found['family']}, {found['parameters']:,} parameters, pictures {found['shape']}, in {safe_text(found['out'])}"]
    else:
        found = task.from_hf(folder, out, context, show.say)
        lines = [f"{found['family']}, {found['parameters']:,} parameters, {found['vocab']:,} symbols, in {safe_text(found['out'])}"]
    show.result(found, as_json, lines)
