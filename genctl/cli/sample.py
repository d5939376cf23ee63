"""genctl sample"""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from genctl.cli import options, show
from genctl.errors import GenctlError, safe_text

MOST = 10**6


def sample(
    ckpt: Annotated[Path, typer.Option(help="A run, a checkpoint folder or one safetensors file.")],
    changes: Annotated[
        list[str] | None, typer.Argument(metavar="[key=value]...", help="How to draw, e.g. temperature=0.8; see `genctl inspect CKPT`.")
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="key=value", help="The same as an option.")] = None,
    n: Annotated[int | None, typer.Option("-n", "--n", min=1, max=MOST, help="How many: 16, of each of --prompts 1, if not given.")] = None,
    out: Annotated[Path | None, typer.Option(help="A folder, or a .npz file for one array; default beside the run.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Sample i depends on the seed and i alone.")] = 0,
    prompt: Annotated[str | None, typer.Option(help="Text to go on from, or to draw from.")] = None,
    prompts: Annotated[Path | None, typer.Option(metavar="FILE", help="A prompt a line: -n samples of each.")] = None,
    shots: Annotated[
        Path | None, typer.Option("--examples", metavar="FILE", help="Examples, a .jsonl or .csv, that stand before each prompt.")
    ] = None,
    form: options.Form = options.FORM,
    stop: Annotated[list[str] | None, typer.Option(metavar="TEXT", help="A text that ends a sample; may be given again.")] = None,
    pattern: Annotated[str | None, typer.Option(metavar="REGEX", help="What the text drawn must match as a whole.")] = None,
    stream: Annotated[bool, typer.Option("--stream", help="Print the text of one sample as it comes.")] = False,
    label: Annotated[str | None, typer.Option(help="A class, by number or name.")] = None,
    per_class: Annotated[int | None, typer.Option(min=1, max=10**6, help="How many of each class, for --as-dataset.")] = None,
    as_dataset: Annotated[Path | None, typer.Option(metavar="DIR", help="Write labelled data that `images` or `npz` read.")] = None,
    given: Annotated[Path | None, typer.Option(help="An .npz of arrays to condition on; a .csv of title, rating to recommend by.")] = None,
    init: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Begin at this picture, or at those of a folder, in turn, not at noise.")
    ] = None,
    strength: Annotated[float, typer.Option(min=0.01, max=1.0, help="How much of --init is drawn anew.")] = 0.6,
    draft: Annotated[
        Path | None, typer.Option(metavar="CKPT", help="A quicker model whose guesses are checked: as likely, sooner.")
    ] = None,
    guesses: Annotated[int, typer.Option(min=1, max=64, help="Symbols that it guesses at a time.")] = 4,
    filter_: Annotated[Path | None, typer.Option("--filter", metavar="CKPT", help="A classifier: keep only what it calls --keep.")] = None,
    keep: Annotated[str, typer.Option(metavar="LABEL[,LABEL]", help="The labels to keep, together at least --sure probable.")] = "",
    sure: Annotated[float, typer.Option(min=0.0, max=1.0, help="How sure the classifier must be.")] = 0.5,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Draw samples from a checkpoint: it needs neither the recipe nor the data.

    Example: genctl sample --ckpt runs/latest -n 64 --out samples
    """
    told = [v for v in (prompt, prompts, label, given) if v is not None]
    if len(told) > 1:
        raise GenctlError("usage", "give one of --prompt, --prompts, --label and --given")
    if (per_class is None) != (as_dataset is None) or (as_dataset and (out or told or stream)):
        raise GenctlError("usage", "--per-class and --as-dataset go together, without --out, --prompt, --label, --given and --stream")
    if stream and (as_json or prompts or draft or n not in (None, 1)):
        raise GenctlError("usage", "--stream prints one sample, without --json, --prompts and --draft")
    if (filter_ is None) != (not keep) or (filter_ and (stream or prompts or draft or as_dataset or given)):
        raise GenctlError("usage", "--filter and --keep go together, without --stream, --prompts, --draft, --as-dataset and --given")
    if init and (stream or draft or as_dataset):
        raise GenctlError("usage", "--init goes without --stream, --draft and --as-dataset")
    if shots and prompt is None and prompts is None:
        raise GenctlError("usage", "--examples stand before a question: give --prompt or --prompts")
    if prompts and draft:
        raise GenctlError("usage", "--draft takes one --prompt")
    from genctl.tasks import prompts as asking
    from genctl.tasks import revise, sieve
    from genctl.tasks import sample as task
    from genctl.tasks import shots as showing

    way = showing.Form.read(form) if shots else None
    stop = [*(stop or []), *([way.behind] if way and way.behind else [])]
    changes = [
        *(changes or []),
        *(set_ or []),
        *(f"{k}={json.dumps(v, ensure_ascii=False)}" for k, v in (("stop", stop), ("pattern", pattern)) if v),
    ]
    sampler = task.Sampler.load(ckpt, device, show.say)
    if per_class and as_dataset:
        from genctl.tasks import augment

        paths = augment.dataset(sampler, per_class, as_dataset, seed, sampler.draw(changes))
        n = per_class * len(augment.classes(sampler))
        made = {"n": n, "per_class": per_class, "seed": seed, "out": str(as_dataset), "files": [str(p) for p in paths[:1000]]}
        show.result(made, as_json, [f"{n} samples, {per_class} of each class; in a recipe: {augment.named(sampler, as_dataset)}"])
        return
    if given and given.suffix == ".csv":
        from genctl.tasks import recommend

        found = recommend.recommend(sampler, given, n or 16, seed, out or task.default_out(ckpt, sampler, seed, "recommended"))
        show.result(found, as_json, [f"{one['rating']:.2f}  {one['title']}" for one in found["best"]])
        return
    draw = sampler.draw(changes)
    texts = asking.read(prompts) if prompts else [prompt] if prompt is not None else []
    if shots and way:
        texts = showing.prompts(sampler, showing.read(shots, way), way, texts, show.say)
    each = n or (1 if prompts or stream else 16)
    total = each * max(1, len(texts)) * (sieve.TRIES if filter_ else 1)
    if total > MOST * (sieve.TRIES if filter_ else 1):
        raise GenctlError("limit", f"{total:,} samples, limit {MOST:,}", "fewer of each prompt")
    beside = sampler.label(label) if label is not None else task.read_given(given, sampler) if given else None
    if texts and (prompted := asking.told(sampler, texts, total // len(texts))):
        beside, texts = prompted, []
    fronts = asking.encoded(sampler, texts, draw, show.say) if texts else []
    if stream:
        pieces = asking.live(sampler, show.write, fronts[0] if fronts else None, seed, beside, draw)
    elif init:
        if fronts:
            raise GenctlError("usage", f"--init: family '{sampler.recipe.family}' goes on from a prompt, it does not draw from one")
        pieces = revise.revised(sampler, init, strength, total, seed, beside, draw)
    elif draft:
        quick = task.Sampler.load(draft, device, show.say)
        pieces = sampler.guessed(quick, guesses, total, seed, beside, draw, fronts[0] if fronts else None)
    else:
        pieces = (
            asking.go_on(sampler, fronts, total // max(1, len(fronts)), seed, draw) if fronts else sampler.stream(total, seed, beside, draw)
        )
    out = out or task.default_out(ckpt, sampler, seed)

    def text(i: int, row: Any) -> str:
        return sampler.text(row, draw, len(fronts[i // each]) if fronts else 0)

    if filter_:
        judge = task.Sampler.load(filter_, device, show.say)
        pieces, total = sieve.sifted(pieces, each, sieve.keeper(judge, keep, sure, sampler.spec, text), show.say), each
    paths = task.sample_to_files(sampler, pieces, total, out, seed, text)
    made = {"n": total, "seed": seed, "out": str(out), "files": [str(p) for p in paths[:1000]]}
    said = f"{total} samples in {safe_text(out)}; look at {safe_text(paths[0])}"
    if stream:
        show.write("\n")
        show.say(said)
    else:
        shown = [p.read_text(encoding="utf-8").rstrip() for p in paths[:1] if p.suffix == ".txt" and total <= 20]
        show.result(made, as_json, [*shown, said])
