"""genctl export"""

from pathlib import Path
from typing import Annotated

import typer

from genctl.cli import options, show
from genctl.errors import GenctlError, safe_text


def export(
    ckpt: options.Ckpt,
    out: Annotated[Path, typer.Option(help="The folder to write; without --to, the file.")],
    to: Annotated[
        str | None, typer.Option(metavar="hf|peft|diffusers", help="Whose layout to write; default genctl's own, as one file.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Write a checkpoint as one file, or as a folder that Hugging Face's libraries read.

    hf: a `gpt` whose recipe says positions: learned, norm: layer, activation: gelu, gelu_tanh, relu or relu2 becomes GPT-2; one that says
    positions: rotary, norm: rms, activation: swiglu becomes Llama. Both need qk_norm: false and begin: a symbol, and no conditions.
    A `bert` in its author's form becomes BERT, a `seq2seq` with relative positions T5; docs/huggingface.md says more.

    peft: the corrections of a run with train.lora, as an adapter.

    diffusers: a `ddpm` of pictures as a DDPMPipeline; its recipe says steps: 1000, patch: 1 and a width of four times the first of channels.

    Example: genctl export --ckpt runs/latest --to hf --out mine
    """
    from genctl.tasks import move as task

    ways = {"hf": task.to_hf, "peft": task.to_peft, "diffusers": task.to_diffusers, None: task.to_file}
    if to not in ways:
        raise GenctlError("usage", f"--to {safe_text(to)}: expected hf, peft or diffusers")
    found = ways[to](ckpt, out, show.say)
    show.result(found, as_json, [f"in {safe_text(found['out'])}"])
