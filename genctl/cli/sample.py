"""genctl sample"""

from pathlib import Path
from typing import Annotated

import typer

from genctl.cli import show
from genctl.errors import GenctlError, safe_text


def sample(
    ckpt: Annotated[Path, typer.Option(help="A run, a checkpoint folder or one safetensors file.")],
    changes: Annotated[
        list[str] | None, typer.Argument(metavar="[key=value]...", help="How to draw, e.g. temperature=0.8; see `genctl inspect CKPT`.")
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="key=value", help="The same as an option.")] = None,
    n: Annotated[int, typer.Option("-n", "--n", min=1, max=10**6, help="How many.")] = 16,
    out: Annotated[Path | None, typer.Option(help="A folder, or a .npz file for one array; default beside the run.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Sample i depends on the seed and i alone.")] = 0,
    prompt: Annotated[str | None, typer.Option(help="Text to go on from, or to draw from.")] = None,
    label: Annotated[str | None, typer.Option(help="A class, by number or name.")] = None,
    per_class: Annotated[int | None, typer.Option(min=1, max=10**6, help="How many of each class, for --as-dataset.")] = None,
    as_dataset: Annotated[Path | None, typer.Option(metavar="DIR", help="Write labelled data that `images` or `npz` read.")] = None,
    given: Annotated[Path | None, typer.Option(help="An .npz of arrays to condition on.")] = None,
    draft: Annotated[
        Path | None, typer.Option(metavar="CKPT", help="A quicker model whose guesses are checked: as likely, sooner.")
    ] = None,
    guesses: Annotated[int, typer.Option(min=1, max=64, help="Symbols that it guesses at a time.")] = 4,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Draw samples from a checkpoint: it needs neither the recipe nor the data.

    Example: genctl sample --ckpt runs/latest -n 64 --out samples
    """
    if sum(v is not None for v in (prompt, label, given)) > 1:
        raise GenctlError("usage", "give one of --prompt, --label and --given")
    if (per_class is None) != (as_dataset is None) or (as_dataset and (out or prompt is not None or label is not None or given)):
        raise GenctlError("usage", "--per-class and --as-dataset go together, without --out, --prompt, --label and --given")
    from genctl.tasks import sample as task

    sampler = task.Sampler.load(ckpt, device, show.say)
    if per_class and as_dataset:
        from genctl.tasks import augment

        paths = augment.dataset(sampler, per_class, as_dataset, seed, sampler.draw([*(changes or []), *(set_ or [])]))
        n = per_class * len(augment.classes(sampler))
        made = {"n": n, "per_class": per_class, "seed": seed, "out": str(as_dataset), "files": [str(p) for p in paths[:1000]]}
        show.result(made, as_json, [f"{n} samples, {per_class} of each class; in a recipe: {augment.named(sampler, as_dataset)}"])
        return
    beside = sampler.label(label) if label is not None else task.read_given(given, sampler) if given else None
    if prompt is not None and (told := sampler.told(prompt)):
        beside, prompt = told, None
    draw = sampler.draw([*(changes or []), *(set_ or [])])
    out = out or task.default_out(ckpt, sampler, seed)
    quick = (task.Sampler.load(draft, device, show.say), guesses) if draft else None
    paths = task.sample_to_files(sampler, n, out, seed, beside, draw, prompt, show.say, quick)
    shown = [p for p in paths[:1] if p.suffix == ".txt"]
    lines = [p.read_text(encoding="utf-8").rstrip() for p in shown if n <= 20] + [
        f"{n} samples in {safe_text(out)}; look at {safe_text(paths[0])}"
    ]
    show.result({"n": n, "seed": seed, "out": str(out), "files": [str(p) for p in paths[:1000]]}, as_json, lines)
